"""A report as Markdown, read by a parser of CommonMark with GitHub's tables."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from resilience.findings import Level, Report
from resilience.rehearse import table
from resilience.render import summary, text
from tests.render.reports import REPORTS, finding, report

GITHUB = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PLENTY = 1 << 20
HARMLESS = {"text", "text_special"}
HOSTILE = [
    "a | b || c \\| d \\\\| e",
    "<script>alert(1)</script> <!-- & --> &lt;b&gt; </td></table>",
    "[x](javascript:alert(1)) ![x](http://evil.example/x.png) <http://evil.example>",
    "`code` ``x`` **bold** __bold__ *i* _i_ ~~gone~~",
    "# head",
    "@somebody #12 :smile: $x^2$",
    "| --- | --- |",
    "ends with a backslash \\",
    "a&#10;b&NewLine;c",
]


def cells(markdown: str) -> list[list[str]]:
    """The text of every row of every table; AssertionError for anything else in it."""
    found: list[list[str]] = []
    for each in GITHUB.parse(markdown):
        if each.type == "tr_open":
            found.append([])
        elif each.type == "inline":
            said = plain(each)
            if found:
                found[-1].append(said)
    return found


def plain(inline: Token) -> str:
    kinds = {child.type for child in inline.children or ()}
    assert kinds <= HARMLESS, f"{kinds} in {inline.content!r}"
    return "".join(child.content for child in inline.children or ())


def blocks(markdown: str) -> set[str]:
    return {each.type.rpartition("_")[0] or each.type for each in GITHUB.parse(markdown)}


def squeezed(words: str) -> str:
    return " ".join(words.split())


# ── any report ──────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(REPORTS)
def test_every_finding_is_a_row_and_nothing_else_is_there(any_report):
    rendered = summary.render(any_report, most=PLENTY, command="checkdeploy")
    head, *rows = cells(rendered) or [list(summary.HEAD)]
    assert head == list(summary.HEAD)
    assert {len(row) for row in rows} <= {5}
    assert sorted((row[1], row[2]) for row in rows) == sorted(
        (each.id, squeezed(each.subject)) for each in any_report.findings
    )
    assert blocks(rendered) <= {"heading", "inline", "table", "thead", "tbody", "tr", "th", "td"}
    title = plain(GITHUB.parse(rendered)[1])
    assert title == f"checkdeploy: {text.render(any_report).splitlines()[-1]}"


@settings(max_examples=60, deadline=None)
@given(REPORTS, st.integers(-5, 6000))
def test_it_is_never_too_long_and_says_how_much_is_left(any_report, most):
    rendered = summary.render(any_report, most=most)
    whole = summary.render(any_report, most=PLENTY)
    assert len(rendered.encode()) <= max(most, 0)
    if len(whole.encode()) <= most:
        assert rendered == whole
    elif rendered:
        left = int(re.findall(r"^And (\d+) more lines", rendered, re.MULTILINE)[-1])
        kept = rendered.partition(f"\nAnd {left} more")[0]
        assert whole.startswith(kept)
        assert whole.removeprefix(kept).count("\n") == left > 0


# ── what others said ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("said", HOSTILE)
def test_what_others_said_is_text(said):
    hostile = finding(subject=said, summary=said, hint=said, location=f"{said}:3")
    (_, row) = cells(summary.render(report(hostile), most=PLENTY))
    assert row[2:] == [said, f"{said} At {said}:3.", said]


@pytest.mark.parametrize("said", [*HOSTILE[:4], HOSTILE[6], HOSTILE[8]])
def test_what_others_said__twin__as_it_is_it_would_not_be(said):
    bare = "\n".join(["| a | b |", "| --- | --- |", f"| {said} | x |"])
    with pytest.raises(AssertionError):
        assert cells(bare)[1:] == [[said, "x"]]


def test_lines_and_long_texts_stay_in_their_cell():
    long = finding(summary=f"a\nb\r\n\tc {'|' * 9000}")
    markdown = summary.render(report(long, finding(subject="the next")), most=PLENTY)
    _, first, second = cells(markdown)
    assert first[3].startswith("a b c |||")
    assert first[3].endswith("…")
    assert len(first[3]) == 1000
    assert second[2] == "the next"


def test_no_address_becomes_a_link():
    """GitHub makes links of bare addresses, which this parser does not."""
    rendered = summary.render(report(finding(summary="www.evil.example, https://x.y")), most=PLENTY)
    assert "www." not in rendered
    assert "://" not in rendered
    assert "www.evil.example, https://x.y" in cells(rendered)[1][3]


# ── order, causes, exceptions ───────────────────────────────────────────────────────────────────


def test_all_findings_are_there_beyond_ten_causes_first():
    cause = finding(subject="the cause", id="tcp.refused", location="shop/urls.py:7")
    effects = [finding(subject=f"effect {n}", cause=cause) for n in range(30)]
    fine = finding(Level.OK, "fine", hint="")
    warned = finding(Level.WARNING, "warned", skipped=True)
    rows = cells(summary.render(report(fine, *effects, warned, cause), most=PLENTY))[1:]
    assert [row[2] for row in rows] == [
        *("the cause", *(f"effect {n}" for n in range(30)), "warned", "fine")
    ]
    assert rows[0] == [
        "error",
        "tcp.refused",
        "the cause",
        "It is so. At shop/urls.py:7.",
        "Mend it.",
    ]
    assert rows[1][3] == "It is so. Because of the cause (tcp.refused)."
    assert rows[31][0] == "warning, skipped"


def test_what_is_silenced_is_told():
    held = finding(facts={"until": "2027-05-31", "reason": "moves | in May"})
    rows = cells(summary.render(report(silenced=(held,)), most=PLENTY))
    assert rows[1][0] == "silenced until 2027-05-31"
    assert rows[1][3].endswith("Reason: moves | in May")


# ── the table of a rehearsal ────────────────────────────────────────────────────────────────────


def played(name: str, level: Level, named: str) -> Report:
    facts = {"fault": "Redis | refuses", "effect": "booted, 0 failed", "named": named}
    return report(finding(level, f"rehearse.{name}", id="rehearse.ok", facts=facts))


def test_a_rehearsal_has_its_own_table():
    fine, broken = played("healthy", Level.OK, ""), played("redis-oom", Level.ERROR, "a, b")
    both = report(*fine.findings, *broken.findings)
    rows = cells(table.summary(both, most=PLENTY, command="rehearse"))
    assert rows[1:3] == [
        ["✓", "healthy", "Redis | refuses", "booted, 0 failed", "-"],
        ["✗", "redis-oom", "Redis | refuses", "booted, 0 failed", "a b"],
    ]
    assert [row[2] for row in rows[4:]] == ["rehearse.redis-oom"]
    assert len(cells(table.summary(fine, most=PLENTY))) == 2
    assert "more lines" in table.summary(both, most=400)
