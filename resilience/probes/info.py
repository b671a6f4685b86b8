"""What the server says of itself: the rows of INFO, and what they add to a refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from resilience.findings import Fact, Finding

ANSWERS_UNDER = ("redis.loading", "redis.master-down")
"""Refusals of nearly every command under which INFO still answers."""

_MIB = 1 << 20
_NUMBER = re.compile("[0-9]{1,18}")


@dataclass(frozen=True)
class Info:
    """The rows of one INFO. A row that a server does not send is ``""`` or None."""

    rows: Mapping[str, str] = field(repr=False)

    @classmethod
    def read(cls, reply: object) -> Info:
        text = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
        return cls(dict(line.split(":", 1) for line in text.splitlines() if ":" in line))

    def word(self, name: str) -> str:
        return self.rows.get(name, "")

    def number(self, name: str) -> int | None:
        found = self.word(name)
        return int(found) if _NUMBER.fullmatch(found) else None

    @property
    def is_replica(self) -> bool:
        return self.word("role") == "slave"

    @property
    def primary(self) -> str:
        """``host:port`` of a replica's primary."""
        host, port = self.word("master_host"), self.word("master_port")
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def facts(self) -> dict[str, Fact]:
        """Version, memory, clients, role; and what is out of the ordinary."""
        words = {
            "version": self.word("valkey_version") or self.word("redis_version"),
            "eviction_policy": self.word("maxmemory_policy"),
            "role": self.word("role"),
            "mode": self.word("redis_mode"),
        }
        facts: dict[str, Fact] = {name: word for name, word in words.items() if word}
        numbers = {
            "used_memory_mib": self._mib("used_memory"),
            "max_memory_mib": self._mib("maxmemory"),
            "clients": self.number("connected_clients"),
            "max_clients": self.number("maxclients"),
            "replicas": self.number("connected_slaves"),
            "good_replicas": self.number("min_slaves_good_slaves"),
            "loading_percent": self._whole("loading_loaded_perc"),
            "loading_eta_s": self.number("loading_eta_seconds"),
        }
        facts |= {name: number for name, number in numbers.items() if number is not None}
        if self.is_replica:
            facts |= {"primary": self.primary, "primary_link": self.word("master_link_status")}
            down = self.number("master_link_down_since_seconds")
            facts |= {} if down is None else {"primary_down_s": down}
        for name, row in (
            ("last_save", "rdb_last_bgsave_status"),
            ("last_append", "aof_last_write_status"),
        ):
            if self.word(row) not in ("", "ok"):
                facts[name] = self.word(row)
        return facts

    def explain(self, failure: Finding) -> Finding:
        """A refusal with these facts, and the next step as exact as they allow."""
        summary, hint = failure.summary, failure.hint
        if failure.id == "redis.loading":
            summary, hint = self._while_loading(summary, hint)
        elif failure.id == "redis.readonly" and self.is_replica:
            hint += f" Its primary is {self.primary}."
        elif failure.id == "redis.master-down" and self.is_replica:
            down = self.number("master_link_down_since_seconds")
            since = "" if down is None else f", for {down} s"
            summary = f"{summary.rstrip('.')} ({self.primary}{since})."
        elif failure.id == "redis.misconf" and self.word("aof_last_write_status") == "err":
            summary = (
                "Redis refuses writes because it cannot write its append-only file; reads work."
            )
            hint = "Free or enlarge the server's disk; its log names the error."
        elif failure.id == "redis.no-replicas":
            near = self.number("min_slaves_good_slaves")
            if near is not None:
                summary = f"{summary.rstrip('.')} and in time: {near}."
        facts = {**self.facts(), **failure.facts}
        return replace(failure, summary=summary, hint=hint, facts=facts)

    def _while_loading(self, summary: str, hint: str) -> tuple[str, str]:
        done, left = self._whole("loading_loaded_perc"), self.number("loading_eta_seconds")
        known = [] if done is None else [f"{done} % read"]
        known += [] if left is None else [f"about {left} s left"]
        if known:
            summary = f"{summary.rstrip('.')}: {', '.join(known)}."
        # The estimate is of the server's first seconds; twice that, and a little, is a safe wait.
        seconds = 60 if left is None else 2 * left + 10
        return summary, f"{hint} checkredis --wait {seconds} waits for it."

    def _mib(self, name: str) -> float | None:
        found = self.number(name)
        return None if found is None else round(found / _MIB, 1)

    def _whole(self, name: str) -> int | None:
        found = self.word(name).partition(".")[0]
        return int(found) if _NUMBER.fullmatch(found) else None
