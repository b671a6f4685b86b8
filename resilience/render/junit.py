"""A report as JUnit XML, which every continuous integration shows: a suite per area.

A finding is a case. At or above the fail level it is a failure; what gave no answer or crashed is
an error; what was not examined is skipped. The rest passes, with its text as output.
"""

from __future__ import annotations

from itertools import groupby
from xml.etree import ElementTree as ET

from resilience.findings import Finding, Level, Report

_NO_ANSWER = ("probe.timeout", "probe.crashed")


def render(report: Report) -> str:
    """One document in ASCII, without a trailing newline. Times are seconds."""
    root = ET.Element("testsuites", name="resilience", time=_seconds(report.duration_ms))
    every = (*report.findings, *report.silenced)
    ordered = sorted(every, key=lambda finding: finding.area)
    for area, findings in groupby(ordered, lambda finding: finding.area):
        root.append(_suite(area, tuple(findings), report))
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ET.indent(root)
    body = ET.tostring(root, encoding="us-ascii").decode("ascii")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'


def _suite(area: str, findings: tuple[Finding, ...], report: Report) -> ET.Element:
    cases = [_case(finding, report) for finding in findings]
    # A probe that finds several things says of each how long all of it took.
    took = {finding.subject: finding.duration_ms for finding in findings}
    suite = ET.Element("testsuite", name=area or "report", time=_seconds(sum(took.values())))
    suite.set("tests", str(len(cases)))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    suite.extend(cases)
    return suite


def _case(finding: Finding, report: Report) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=finding.subject or finding.area,
        name=finding.id,
        time=_seconds(finding.duration_ms),
    )
    details = "\n".join(_details(finding))
    if any(finding is held for held in report.silenced):
        until, reason = finding.facts["until"], finding.facts["reason"]
        ET.SubElement(case, "skipped", message=f"silenced until {until}: {reason}")
    elif finding.level >= report.fail_level or _is_fatal(finding, report):
        tag = "error" if finding.id in _NO_ANSWER else "failure"
        said = ET.SubElement(case, tag, type=finding.id, message=finding.summary)
        said.text = details
    elif finding.skipped:
        ET.SubElement(case, "skipped", message=finding.summary)
    elif finding.level > Level.OK:
        ET.SubElement(case, "system-out").text = details
    return case


def _is_fatal(finding: Finding, report: Report) -> bool:
    return finding.id == "probe.timeout" and finding.subject in report.critical


def _details(finding: Finding) -> list[str]:
    lines = [f"{finding.level} {finding.subject} {finding.id}", finding.summary]
    if finding.location:
        lines.append(f"at: {finding.location}")
    if finding.hint:
        lines.append(f"fix: {finding.hint}")
    if finding.cause:
        lines.append(f"because of: {finding.cause.subject} {finding.cause.id}")
    return [*lines, *(f"{key} = {fact}" for key, fact in finding.facts.items())]


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.3f}"
