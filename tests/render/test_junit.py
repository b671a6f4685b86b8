"""A report as JUnit XML: valid, complete, and as bad as the exit status says."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema
from hypothesis import given, settings

from resilience.findings import Level, Report
from resilience.render import junit
from tests.render.reports import REPORTS, finding, report

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))
ERROR, WARNING, INFO, OK = Level.ERROR, Level.WARNING, Level.INFO, Level.OK


def read(any_report: Report) -> ET.Element:
    rendered = junit.render(any_report)
    SCHEMA.validate(rendered)
    return ET.fromstring(rendered)  # noqa: S314 - our own


def children(root: ET.Element) -> list[tuple[str, str]]:
    return [
        (case.get("name", ""), case[0].tag if len(case) else "") for case in root.iter("testcase")
    ]


@settings(max_examples=60, deadline=None)
@given(REPORTS)
def test_any_report_is_valid_and_complete(any_report):
    rendered = junit.render(any_report)
    assert rendered.isascii()
    assert "\x1b" not in rendered
    root = read(any_report)
    cases = list(root.iter("testcase"))
    found = sorted(any_report.findings, key=lambda each: each.area)
    assert [case.get("name") for case in cases] == [each.id for each in found]
    bad = [case for case in cases if len(case) and case[0].tag in ("failure", "error")]
    assert bool(bad) == bool(any_report.exit_code)
    assert int(root.get("tests", "")) == len(cases)
    assert int(root.get("failures", "")) + int(root.get("errors", "")) == len(bad)
    for suite in root:
        assert int(suite.get("tests", "")) == len(suite)
    for case, each in zip(cases, found, strict=True):
        if len(case) and case[0].tag != "system-out":
            assert case[0].get("message") == each.summary


@pytest.mark.parametrize(
    "broken",
    [
        ("<testsuites ", "<testsuite "),
        ('time="1.234"', 'time="1.2 s"'),
        (' message="It is so."', ""),
        ("<failure", "<failed"),
        (' classname="thing"', ""),
    ],
)
def test_any_report_is_valid__twin__the_schema_notices(broken):
    rendered = junit.render(report(finding()))
    SCHEMA.validate(rendered)
    assert broken[0] in rendered
    with pytest.raises((xmlschema.XMLSchemaValidationError, ET.ParseError)):
        SCHEMA.validate(rendered.replace(*broken).replace("</failure", broken[1] and "</failure"))


def test_what_becomes_of_each_level():
    found = (finding(ERROR), finding(WARNING), finding(INFO), finding(OK))
    tags = ["failure", "system-out", "system-out", ""]
    assert [tag for _, tag in children(read(report(*found)))] == tags
    tags[1] = "failure"
    strict = read(report(*found, fail_level=WARNING))
    assert [tag for _, tag in children(strict)] == tags
    assert (strict.get("failures"), strict.get("errors")) == ("2", "0")


def test_no_answer_and_a_crash_are_errors():
    found = [
        finding(ERROR, id="probe.crashed"),
        finding(WARNING, "databases.default", id="probe.timeout"),  # critical: exit status 3
        finding(WARNING, "caches.default", id="probe.timeout"),
    ]
    assert [tag for _, tag in children(read(report(*found)))] == ["error", "error", "system-out"]


def test_what_was_not_examined_is_skipped_unless_it_fails():
    found = [finding(INFO, skipped=True), finding(ERROR, skipped=True)]
    assert [tag for _, tag in children(read(report(*found)))] == ["skipped", "failure"]


def test_the_details_are_in_the_text():
    cause = finding(subject="redis.cache:6379/0", id="tcp.refused")
    effect = finding(
        subject="caches.default", cause=cause, location="shop/settings.py:7", facts={"wait_ms": 3}
    )
    said = [case[0].text for case in read(report(cause, effect)).iter("testcase")]
    assert said[1] == (
        "error caches.default redis.oom\nIt is so.\nat: shop/settings.py:7\nfix: Mend it.\n"
        "because of: redis.cache:6379/0 tcp.refused\nwait_ms = 3"
    )


def test_a_suite_is_an_area_and_times_are_seconds():
    found = [finding(OK, area="redis", duration_ms=1500.0), finding(OK, "other", area="env")]
    root = read(report(*found))
    assert [(suite.get("name"), suite.get("time")) for suite in root] == [
        ("env", "0.000"),
        ("redis", "1.500"),
    ]
    assert root.get("time") == "1.234"


def test_no_finding_is_valid_too():
    assert list(read(report())) == []
