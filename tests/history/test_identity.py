"""Who a process is, and what its configuration gives away: nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from resilience import env
from resilience.history import identity
from tests.processes import ROOT


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, ""),
        ({"RAILWAY_GIT_COMMIT_SHA": "d0beb8f5c55b36df7d674d55965a23b8d54ad69b"}, "d0beb8f5"),
        ({"GIT_SHA": "b", "RENDER_GIT_COMMIT": "a"}, "a"),
        ({"HEROKU_SLUG_COMMIT": "old", "HEROKU_BUILD_COMMIT": "new"}, "new"),
        ({"GIT_COMMIT": " ", "GIT_SHA": "b"}, "b"),
        ({"GIT_COMMIT": "${{ secrets.SHA }}"}, ""),
        ({"GIT_COMMIT": "<script>"}, ""),
        ({"GIT_COMMIT": "x" * 101}, ""),
        ({"K_REVISION": "shop-00042-abc"}, "shop-00042-abc"),
    ],
)
def test_the_commit_is_what_the_platform_says(variables, named):
    found = identity.commit(variables)
    assert found.startswith(named)
    assert bool(found) is bool(named)


def test_equal_processes_agree_and_different_ones_do_not(monkeypatch):
    monkeypatch.setenv("SHOP_MODE", "loud")
    env.str("SHOP_MODE", default="quiet")
    first = identity.configuration()
    assert first == identity.configuration()
    assert len(first) == 16
    monkeypatch.setenv("SHOP_MODE", "quiet")
    assert identity.configuration() != first
    monkeypatch.setenv("SHOP_MODE", "loud")
    changes: tuple[dict[str, Any], ...] = (
        {"SECRET_KEY": "another-key-of-this-project-0123456789-abcdefghij"},
        {"RESILIENCE": {"CRITICAL": []}},
        {"DEBUG": True},
        {"CACHES": {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}},
    )
    for changed in changes:
        with override_settings(**changed):
            assert identity.configuration() != first, changed
    assert identity.configuration() == first


def test_what_tells_replicas_apart_is_no_difference(monkeypatch):
    for name in ("PORT", "HOSTNAME", "RAILWAY_REPLICA_ID", "GIT_SHA"):
        env.str(name, default="")
    found = set()
    for value in ("1", "2"):
        for name in ("PORT", "HOSTNAME", "RAILWAY_REPLICA_ID", "GIT_SHA"):
            monkeypatch.setenv(name, value)
        found.add(identity.configuration())
    assert len(found) == 1


def test_the_digest_cannot_be_tried_without_the_key(monkeypatch):
    """The same value gives another digest under another key: no table of guesses fits."""
    monkeypatch.setenv("SHOP_PIN", "1234")
    env.str("SHOP_PIN", default="")
    one = identity.configuration()
    with override_settings(SECRET_KEY="another-key-of-this-project-0123456789-abcdefghij"):
        assert identity.configuration() != one
    assert not set(one) - set("0123456789abcdef")


class Odd:
    def __call__(self) -> None:
        pass


ODD: dict[str, Any] = {
    "set": {"b", "a", "c", "d", "e"},
    "function": test_what_tells_replicas_apart_is_no_difference,
    "object": Odd(),
    "class": Odd,
    "path": Path("/srv"),
    "nested": [{"x": (1, 2.5, None, b"z")}],
}


def test_no_address_and_no_order_of_a_set_is_in_it():
    code = "from tests.history.test_identity import ODD; from resilience.history.identity import "
    code += "spelled; print(spelled(ODD))"
    said = set()
    for seed in ("1", "2"):
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": seed,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            check=True,
            text=True,
        )
        said.add(done.stdout)
    assert len(said) == 1
    assert " at 0x" not in said.pop()


def test_settings_that_refer_to_themselves_have_an_end():
    loop: dict[str, Any] = {}
    loop["again"] = loop
    assert identity.spelled(loop).count("again") <= 21


def test_memory_is_what_the_kernel_says():
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kernel = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    found = identity.memory()
    assert found is not None
    assert abs(found - kernel) < 0.2 * kernel
