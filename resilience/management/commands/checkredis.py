"""``manage.py checkredis``: can this process use that Redis, and if not, at which stage not?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser

from resilience.management.command import ReportCommand, argument
from resilience.probes import redis, targets
from resilience.probes.base import Probe


class Command(ReportCommand):
    help = (
        "Examine Redis stage by stage: DNS, TCP, TLS, AUTH, PING, INFO, one key written, read and "
        "deleted, the rights of its user, and what will not work for long. Without arguments "
        "every Redis of CACHES. Exit status as checkdeploy's."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "targets",
            nargs="*",
            type=argument(_url_or_alias),
            metavar="URL|ALIAS",
            help="a redis://, rediss:// or unix:// URL, or an alias of CACHES",
        )

    def probes(self, options: dict[str, Any]) -> Sequence[Probe]:
        words = options["targets"]
        if not words:
            return _probes(targets.configured())
        self.app = not all(isinstance(word, targets.Target) for word in words)
        places: list[targets.Target | targets.Location] = []
        for word in words:
            if isinstance(word, targets.Target):
                places.append(targets.spelled_as_configured(word))
            else:
                places += targets.of_alias(word)
        return _probes(places)


def _probes(places: Sequence[targets.Target | targets.Location]) -> list[Probe]:
    # Several aliases may stand for one Redis, which one line says all about.
    probes: list[Probe] = []
    for place in places:
        probe = redis.probe_of(place)
        if probe not in probes:
            probes.append(probe)
    return [each for probe in probes for each in (probe, *redis.address_of(probe))]


def _url_or_alias(word: str) -> targets.Target | str:
    """A URL is parsed before any settings are read; an alias needs them."""
    return targets.of_url(word) if "://" in word else word
