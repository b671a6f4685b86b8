"""Which format which Accept header asks for, and that no header at all is too strange."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from resilience.endpoints.accept import Format, choose

TEXT, JSON, HEALTH, HTML = Format.TEXT, Format.JSON, Format.HEALTH_JSON, Format.HTML
METRICS, PROMETHEUS = Format.OPENMETRICS, Format.PROMETHEUS
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
SCRAPER = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
OLD_SCRAPER = "text/plain;version=0.0.4;q=1,*/*;q=0.1"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),  # kube-probe, curl
        ("*", TEXT),
        ("text/*", TEXT),
        ("application/*", JSON),
        ("application/json", JSON),
        ('application/json;v="1"', JSON),
        ("APPLICATION/JSON", JSON),
        ("application/json, text/plain, */*", JSON),  # axios
        ("application/health+json, application/json;q=0.9", HEALTH),
        ("application/health+json;q=0.5, application/json;q=0.9", JSON),
        ("text/html;q=0", TEXT),
        ("text/html;q=0, application/json;q=0.001", JSON),
        ("*/*, application/json", JSON),  # a name before a wildcard
        ("image/png", TEXT),
        (CHROME, HTML),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", HTML),  # Java
        (SCRAPER, METRICS),
        (OLD_SCRAPER, PROMETHEUS),
        ("text/plain;version=0.0.5", TEXT),
        ("application/json;q=2", TEXT),
        ("application/json;q=x, text/html;q=0.1", HTML),
        ("application/json;q=¹", TEXT),
        ("application/json;q", TEXT),
        (",;=,", TEXT),
        ("application/json" * 1000, TEXT),
        ("x/y," * 500 + "application/json", TEXT),  # beyond what is read
    ],
)
def test_the_header_decides(accept, expected):
    assert choose(accept) is expected


_PIECES = st.sampled_from(
    [*'*/;=," .q', "q=", "text/html", "application/json", "*/*", "1", "0.5", "\x00", "é", "\ud800"]
)


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join)))
def test_every_text_has_a_format(accept):
    assert choose(accept) in Format


@given(st.lists(st.sampled_from(["text/html", "application/json", "*/*;q=.1", "x", "text/*;q=0"])))
def test_what_is_not_known_changes_nothing(parts):
    """The twin of a parser that is too lenient: only the known parts decide."""
    known = [part for part in parts if part != "x"]
    assert choose(", ".join(parts)) is choose(", ".join(known))
