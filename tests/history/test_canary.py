"""No byte of the database holds a secret, whatever a probe said and whatever settings hold."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from django.test import override_settings

from resilience import env, redact
from resilience.findings import Finding, Level
from resilience.history import heartbeat
from resilience.history.models import Transition

CANARY = "c4nary-0f-the-c0al-mine"


@pytest.mark.parametrize("known", [True, False])
def test_no_secret_is_in_the_file(known, sqlite_file, monkeypatch):
    """Where nobody said that it is one, it is there: the search finds what there is."""
    monkeypatch.setenv("SHOP_PASSWORD" if known else "SHOP_WORD", CANARY)
    env.str("SHOP_PASSWORD", default="")
    env.str("SHOP_WORD", default="")
    if known:
        monkeypatch.setenv("GIT_COMMIT", CANARY)
    with override_settings(RESILIENCE={"COMPONENTS": {}}, SESSION_COOKIE_NAME=CANARY):
        heart = heartbeat.Heart("web")
        finding = Finding("tcp.refused", Level.ERROR, "redis", f"It said {CANARY}.", "Start it.")
        heart.recorder.note(
            subject="redis", old=Level.OK, new=Level.ERROR, finding=finding, at=time.time()
        )
        heart._turn(stopping=False)
    assert Transition._default_manager.count() == 1
    assert (CANARY.encode() in Path(sqlite_file["NAME"]).read_bytes()) is not known


def test_no_secret_is_in_a_problem(use, postgres, caplog):
    from tests.history.conftest import config_of

    redact.register(CANARY)
    use({**config_of(postgres), "PASSWORD": CANARY, "USER": f"user-{CANARY}"})
    heart = heartbeat.Heart("web")
    heart._turn(stopping=False)
    assert "did not take the beat" in heart.problem
    assert CANARY not in heart.problem + caplog.text
