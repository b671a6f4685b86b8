"""The faults of production, on purpose, on this machine. Production code never imports it.

    what the client meets                                      what plays it
    ───────────────────────────────────────────────────────    ─────────────────────────────
    SYN ──────► (nothing, ever)                                network.BlackHole
    SYN ──────► RST                                            network.Refused
    SYN ◄─────► accepted, bytes ──────► (nothing, ever)        network.Silence
    SYN ◄─────► accepted, bytes ──────► RST                    network.Reset
    SYN ◄─────► accepted, bytes ◄─────► the wrong protocol     network.Garbage
    SYN ◄─────► accepted, PING  ◄─────► +PONG, -LOADING, …     fake_redis.FakeRedis
    TLS ◄─────► certificates of a CA that nobody knows         authority.Authority
    a real server, until you say otherwise, and again after    proxy.Proxy with faults.Fault

Every fault is a context manager that listens on 127.0.0.1, on a port the kernel chose, and is gone
when the block ends: no thread, no socket, no file. The port is known inside the block::

    from resilience.simulation.network import Silence

    with Silence() as fault, pytest.raises(TimeoutError):
        socket.create_connection(fault.address, timeout=0.2).recv(1)

``mounts`` shows a process other files than the machine's; ``name_server`` and ``ca_store`` have
some for it.

``proxy`` stands between a client and a real server: ``proxy.fault = Silence()`` is in force at
once, for live connections too, and None heals.

Each fault of ``network`` that accepts connections is a ``listener.Listener`` and takes ``tls=``, a
server's ``ssl.SSLContext``: then it first shakes hands and is faulty after that. ``resp`` holds the
words of the Redis protocol. Only ``authority`` needs a package that the wheel does not bring:
trustme.
"""
