"""One stage's time for all addresses of a host, and the answer that says most."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import pytest

from resilience.probes import network
from resilience.probes.base import Deadline
from resilience.simulation.fake_redis import FakeRedis
from resilience.simulation.network import BlackHole, Refused


def address(port: int, host: str = "127.0.0.1") -> network.Address:
    return (socket.AF_INET, (host, port))


NO_ROUTE = address(6379, "255.255.255.255")


def test_a_dead_address_does_not_eat_the_time_of_the_next():
    with BlackHole() as hole, FakeRedis() as fake:
        places = [address(hole.port), address(fake.port)]
        began = time.monotonic()
        network.connect("redis", places, "redis:6379", Deadline(1.0)).close()
        assert 0.4 <= time.monotonic() - began < 0.8


def test_a_dead_address__twin__alone_it_has_the_whole_stage():
    with BlackHole() as hole:
        began = time.monotonic()
        with pytest.raises(network.StageFailed) as caught:
            network.connect("redis", [address(hole.port)], "redis:6379", Deadline(1.0))
        assert 0.85 <= time.monotonic() - began < 1.0, "and tells it before the run ends"
    assert caught.value.finding.id == "tcp.timeout"


def test_what_an_address_does_not_need_the_others_have():
    with Refused() as port, BlackHole() as hole:
        places = [address(port.port), address(hole.port)]
        began = time.monotonic()
        with pytest.raises(network.StageFailed):
            network.connect("redis", places, "redis:6379", Deadline(1.0))
        assert 0.85 <= time.monotonic() - began < 1.0


@pytest.mark.parametrize(
    ("faults", "identifier"),
    [
        ("refused hole", "tcp.refused"),
        ("hole refused", "tcp.refused"),
        ("refused no-route", "tcp.refused"),
        ("no-route refused", "tcp.refused"),
        ("no-route hole", "tcp.timeout"),
        ("hole no-route", "tcp.timeout"),
        ("no-route", "tcp.unreachable"),
    ],
)
def test_the_error_that_says_most_wins(faults, identifier):
    with ExitStack() as held:
        ports = {"hole": held.enter_context(BlackHole()), "refused": held.enter_context(Refused())}
        places = [
            NO_ROUTE if fault == "no-route" else address(ports[fault].port)
            for fault in faults.split()
        ]
        with pytest.raises(network.StageFailed) as caught:
            network.connect("redis", places, "redis:6379", Deadline(0.4))
    assert caught.value.finding.id == identifier


@pytest.mark.parametrize("order", [1, -1])
def test_the_error_that_says_most__twin__one_that_answers_is_enough(order):
    with Refused() as port, FakeRedis() as fake:
        places = [address(port.port), NO_ROUTE, address(fake.port)][::order]
        network.connect("redis", places, "redis:6379", Deadline(1.0)).close()
