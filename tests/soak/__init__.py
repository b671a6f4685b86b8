"""Real processes on a real Redis that fails, and a judge of everything they read.

::

    crew.Crew ── pipe ──► worker.Worker, a process     ── redis ──► Proxy ──► redis-server
        │                   uses the public cache API                 ▲          ▲
        │ records of what it did and saw                              └─ faults ─┘
        ▼
    judge.Judge: may this process have read this value?

``tests/cache/test_resurrection.py`` runs it for seconds, ``scripts/soak`` for minutes.
"""
