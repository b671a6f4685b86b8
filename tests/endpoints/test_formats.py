"""What each format holds, read by its own parser; and that metrics name no host."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given, strategies as st
from prometheus_client import parser as prometheus
from prometheus_client.openmetrics import parser as openmetrics_parser

from resilience import hosting
from resilience.findings import Finding, Level, Report
from resilience.health.states import Health, Readiness, SubjectState
from resilience.render import health_json, openmetrics, plain, status_json

HOST = "cache-7.internal.example"
STATUS = {
    "state": "open",
    "read": {"state": "open"},
    "write": {"state": "half-open"},
    "journal": {"keys": 3, "patterns": 1},
    "l1": {"bytes": 1234, "max_bytes": 4096},
}
MEMORY = {**STATUS, "state": "memory", "read": {"state": "closed"}}


def state(subject: str, level: Level = Level.OK, area: str = "", **more: object) -> SubjectState:
    area = area or subject.partition(".")[0]
    hint = "Do this." if level >= Level.WARNING else ""
    finding = Finding(f"{area}.{level}", level, subject, "This is so.", hint, area=area)
    known: dict[str, object] = {
        "since": 100.0,
        "checked_at": 190.0,
        "duration_ms": 12.5,
        "running_since": None,
        "last_ok": 190.0,
        "last_failure": None,
        "samples": (),
    }
    return SubjectState(subject, area, level, (finding,), **{**known, **more})  # type: ignore[arg-type]


def health(*states: SubjectState, **more: object) -> Health:
    findings = tuple(finding for each in states for finding in each.findings)
    report = Report(findings, hosting.Hosting(), 10.0)
    known = {"taken_at": 200.0, "booted_at": 50.0, "background": True, **more}
    return Health(Readiness.DEGRADED, report, states, **known)  # type: ignore[arg-type]


SOME = health(
    state("databases.default", last_ok=None),
    state("caches.default", Level.WARNING, running_since=140.0),
    state(f"redis.{HOST}:6379/0", Level.ERROR),
    state(f"tls.{HOST}:443", Level.INFO),
    state("env"),
)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By the strict parser of OpenMetrics; the lenient one of Prometheus must read the same."""
    strict, lenient = (
        {
            (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
            for family in parse(text)
            for sample in family.samples
        }
        for parse in (
            openmetrics_parser.text_string_to_metric_families,
            prometheus.text_string_to_metric_families,
        )
    )
    assert strict == lenient
    return strict


def of(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str) -> dict[str, float]:
    """One family by the values of its labels, joined."""
    return {
        " ".join(value for _, value in labels): number
        for (sample, labels), number in found.items()
        if sample == name
    }


def test_openmetrics_are_what_its_parser_reads():
    found = samples(openmetrics.render(SOME, {"default": STATUS, "m": MEMORY}, serving=True))
    levels = of(found, "resilience_subject_level")
    assert levels["databases databases.default"] == 0
    assert levels["caches caches.default"] == 30
    assert sorted(levels.values()) == [0, 0, 20, 30, 40]
    assert of(found, "resilience_ready") == {"": 1}
    assert of(found, "resilience_subject_probe_duration_seconds")["env env"] == 0.0125
    running = of(found, "resilience_subject_probe_running_seconds")
    assert (running["caches caches.default"], running["env env"]) == (60, 0)
    assert of(found, "resilience_subject_checked_timestamp_seconds")["env env"] == 190
    oks = of(found, "resilience_subject_last_ok_timestamp_seconds")
    assert "databases databases.default" not in oks
    assert len(oks) == 4
    circuits = of(found, "resilience_cache_circuit")
    assert {key for key, value in circuits.items() if value} == {
        "default read open",
        "default write half-open",
        "m read memory",
        "m write memory",
    }
    assert len(circuits) == 16
    assert of(found, "resilience_cache_journal_keys") == {"default": 3, "m": 3}
    assert of(found, "resilience_cache_l1_bytes") == {"default": 1234, "m": 1234}


def test_openmetrics_name_no_host():
    text = openmetrics.render(SOME, {}, serving=True)
    assert HOST not in text
    assert "6379" not in text
    assert openmetrics.render(SOME, {}, serving=True) == text, "a label is the same every time"
    assert HOST in plain.render(SOME, "degraded"), "the twin: it was there to be named"


@given(st.text(min_size=1, max_size=20))
def test_openmetrics_of_any_alias_can_be_read(alias):
    found = samples(openmetrics.render(health(), {alias: STATUS}, serving=False))
    assert list(of(found, "resilience_cache_l1_bytes")) == [alias]
    assert of(found, "resilience_ready") == {"": 0}


@given(st.text(min_size=1, max_size=20))
def test_openmetrics_of_any_subject_can_be_read(name):
    found = samples(openmetrics.render(health(state(f"caches.{name}")), {}, serving=True))
    assert len(of(found, "resilience_subject_level")) == 1


def test_a_lone_surrogate_in_a_name_can_be_sent():
    """As a variable that is no UTF-8 has it."""
    text = openmetrics.render(health(state("caches.\udcff")), {"s\udcff": STATUS}, serving=True)
    found = samples(text.encode().decode())
    assert list(of(found, "resilience_cache_l1_bytes")) == [r"s\udcff"]


def test_an_unescaped_label__twin__does_not_pass_the_parser(monkeypatch):
    monkeypatch.setattr(openmetrics, "_escaped", lambda text: text)
    with pytest.raises(ValueError, match=r"\w"):
        samples(openmetrics.render(health(), {'a"b\n': STATUS}, serving=True))


def test_the_one_word_is_valid_too():
    assert of(samples(openmetrics.render_word(serving=False)), "resilience_ready") == {"": 0}


def test_health_json_is_as_the_draft_wants_it():
    document = json.loads(health_json.render("degraded", SOME))
    assert document["status"] == "warn"
    assert [name.count(":") for name in document["checks"]] == [1] * 5
    checks = {check["componentId"]: check for (check,) in document["checks"].values()}
    redis = checks[f"redis.{HOST}:6379/0"]
    assert (redis["status"], redis["output"]) == ("fail", "This is so.")
    assert "output" not in checks["env"]
    assert {check["status"] for check in checks.values()} <= {"pass", "warn", "fail"}
    assert checks["caches.default"]["componentType"] == "datastore"
    assert datetime.fromisoformat(redis["time"]).tzinfo is not None


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("ready", "pass"),
        ("degraded", "warn"),
        ("starting", "fail"),
        ("not-ready", "fail"),
        ("draining", "fail"),
    ],
)
def test_health_json_in_one_word(word, status):
    assert json.loads(health_json.render(word, None)) == {"status": status}


def test_json_holds_the_report_of_checkdeploy():
    document = json.loads(status_json.render("degraded", SOME))
    assert document["status"] == "degraded"
    assert document["report"]["schema"] == 1
    assert [each["subject"] for each in document["report"]["findings"]] == [
        each["subject"] for each in document["subjects"]
    ]
    assert json.loads(status_json.render("ready", None)) == {"status": "ready"}


def test_no_name_of_what_hangs_is_obeyed_by_a_terminal():
    hung = state("caches.\x1b[2J", running_since=100.0)
    assert r"caches.\x1b[2J has been asked" in plain.render(health(hung), "degraded")


def test_the_plain_text_says_what_hangs_and_how_old_it_is():
    lines = plain.render(SOME, "degraded").splitlines()
    assert lines[:3] == [
        "degraded",
        "last answer 10 s ago; probes run in the background",
        "caches.default has been asked for 60 s without an answer",
    ]
    assert any("This is so." in line for line in lines[3:])
    assert plain.render(health(background=False), "starting").splitlines()[1] == (
        "no answer yet; probes run only when somebody asks"
    )
