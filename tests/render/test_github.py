"""A report as workflow commands, read back as the runner of GitHub Actions reads a log."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given, settings

from resilience.findings import Level, Report
from resilience.render import github, text
from tests.render.reports import REPORTS, finding, report

ERROR, WARNING, INFO, OK = Level.ERROR, Level.WARNING, Level.INFO, Level.OK


class Command(NamedTuple):
    name: str
    properties: dict[str, str]
    said: str


def commands(log: str) -> list[Command]:
    """What a runner obeys: lines that begin with ``::``, blanks before it aside.

    Between ``::stop-commands::TOKEN`` and ``::TOKEN::`` it obeys nothing else. Properties and
    data are unescaped in the order of the runner's ActionCommand.
    """
    found, stopped = [], ""
    for line in log.split("\n"):
        bare = line.lstrip()
        match = re.match(r"::([\w-]+)(?: ([^:]*(?:[^:]|:(?!:))*?))?::(.*)$", bare)
        if not match or not bare.startswith("::"):
            continue
        name, given, said = match[1], match[2] or "", match[3]
        if stopped:
            stopped = "" if name == stopped else stopped
            continue
        if name == "stop-commands":
            stopped = said
            continue
        pairs = (pair.partition("=") for pair in given.split(",") if pair)
        properties = {key: _unescape(value, ":,") for key, _, value in pairs}
        found.append(Command(name, properties, _unescape(said)))
    assert not stopped, "commands were switched off and not on again"
    return found


def _unescape(value: str, more: str = "") -> str:
    for char in ("\r", "\n", *more, "%"):
        value = value.replace(f"%{ord(char):02X}", char)
    return value


def annotated(any_report: Report) -> list[Command]:
    return [each for each in commands(github.render(any_report)) if "group" not in each.name]


# ── any report ──────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(REPORTS)
def test_any_report_is_obeyed_as_it_is_meant(any_report):
    rendered = github.render(any_report)
    assert "\x1b" not in rendered
    assert "\r" not in rendered
    found = annotated(any_report)
    assert {each.name for each in found} <= {"error", "warning", "notice"}
    kinds = {ERROR: "error", WARNING: "warning", INFO: "notice"}
    for level, kind in kinds.items():
        said = [each for each in found if each.name == kind]
        there = any_report.count(level)
        assert len(said) == min(there, github.MOST)
        if there > github.MOST:
            assert said[-1].said.startswith(f"And {there - github.MOST + 1} more: ")
    last = rendered.splitlines()[-1]
    assert last == text.render(any_report).splitlines()[-1]
    assert last.endswith(f"(exit {any_report.exit_code})")


@pytest.mark.parametrize(
    "said",
    [
        "::error::no",
        "50%0A done, a: b",
        "::stop-commands::x",
        "##[error]x",
        "::endgroup::",
        "a,b::c",
    ],
)
def test_what_others_said_is_no_command(said):
    found = annotated(report(finding(subject=said, summary=said, hint=said, location=f"{said}:3")))
    assert len(found) == 1
    assert found[0].said == f"{said}\nFix: {said}"
    assert found[0].properties == {"file": said, "line": "3", "title": f"{said} redis.oom"}


def test_what_others_said__twin__without_the_brackets_it_would_be():
    """The reader above notices: the text alone begins a line with a command."""
    plain = text.render(report(finding(summary="::error::no")))
    assert [each.name for each in commands(plain)] == ["error"]


# ── one annotation ──────────────────────────────────────────────────────────────────────────────


def test_an_annotation_has_its_place_and_its_fix():
    cause = finding(subject="redis.cache:6379/0", id="tcp.refused", location="shop/settings.py:7")
    effect = finding(WARNING, "caches.default", cause=cause, hint="Start it.", location="odd")
    first, second = github.render(report(cause, effect)).splitlines()[:2]
    assert first == (
        "::error file=shop/settings.py,line=7,title=redis.cache%3A6379/0 tcp.refused"
        "::It is so.%0AFix: Mend it."
    )
    assert second == (
        "::warning title=caches.default redis.oom"
        "::It is so.%0AFix: Start it.%0ABecause of redis.cache:6379/0 (tcp.refused)."
    )


def test_ok_is_no_annotation():
    assert annotated(report(finding(OK))) == []
    assert [each.name for each in annotated(report(finding(INFO)))] == ["notice"]


@pytest.mark.parametrize(("there", "shown"), [(10, 10), (11, 10), (30, 10)])
def test_ten_of_a_kind_and_causes_first(there, shown):
    cause = finding(subject="the cause")
    effects = [finding(subject=f"effect {n}", cause=cause) for n in range(there - 1)]
    found = annotated(report(*effects, cause, finding(WARNING)))
    assert Counter(each.name for each in found) == {"error": shown, "warning": 1}
    assert found[0].properties["title"] == "the cause redis.oom"
    assert ("And 21 more: " in found[9].said) == (there == 30)


def test_the_whole_text_is_there_in_a_group():
    some = report(finding(facts={"wait_ms": 3}))
    lines = github.render(some, verbosity=2).splitlines()
    assert "        wait_ms = 3" in lines
    names = [each.name for each in commands("\n".join(lines))]
    assert names == ["error", "group", "endgroup"]
    assert (
        "→"
        not in github.render(report(finding(summary="a → b")), unicode=False).partition("::group")[
            2
        ]
    )
