"""Broken files and variables, each with its one root cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience import conf, env, hosting
from resilience.findings import Finding, Level
from resilience.probes import env as env_probe
from resilience.probes.base import Deadline
from resilience.probes.examine import examine

NAME = "SHOP_VALUE"
CONTAINER = hosting.Hosting(in_container=True)


@pytest.fixture(autouse=True)
def laptop(monkeypatch) -> None:
    """Whatever these tests run in."""
    monkeypatch.setattr(conf, "detect_hosting", hosting.Hosting)


def run() -> list[Finding]:
    return [found for probe in env_probe.probes() for found in probe.run(Deadline(1.0))]


def ids() -> list[str]:
    return [found.id for found in run()]


def declare(folder: Path, dotenv: str, *names: str, late: bool = False) -> list[Finding]:
    """What is said of a project with this ``.env`` and these required variables."""
    (folder / ".env").write_text(dotenv)
    with env.collecting():
        if not late:
            env.load(folder)
        for name in names:
            env.str(name)
        if late:
            env.load(folder, after=__file__)
    return run()


def test_all_is_there(tmp_path):
    [found] = declare(tmp_path, f"{NAME}=1\n", NAME)
    assert (found.id, found.level, found.area) == ("env.ok", Level.OK, "")
    assert dict(found.facts) == {NAME: ".env:1"}


def test_a_missing_variable(tmp_path):
    [found] = declare(tmp_path, "", NAME)
    assert (found.id, found.level, found.is_root_cause) == ("env.missing", Level.ERROR, True)


def test_what_a_broken_file_may_have_held_is_its_consequence(tmp_path):
    broken, missing = declare(tmp_path, "no assignment\n", NAME)
    assert (broken.id, broken.is_root_cause) == ("env.dotenv-syntax", True)
    assert (missing.id, missing.cause) == ("env.missing", broken)


def test_what_a_broken_file__twin__a_wrong_value_has_its_own_cause(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_NUMBER", "x")
    with env.collecting():
        env.int("SHOP_NUMBER")
    broken, wrong = declare(tmp_path, "no assignment\n")
    assert (broken.id, wrong.id, wrong.cause) == ("env.dotenv-syntax", "env.invalid", None)


def test_what_a_late_file_holds_is_its_consequence(tmp_path):
    late, missing, other = declare(tmp_path, f"{NAME}=1\n", NAME, "SHOP_OTHER", late=True)
    assert (late.id, late.level) == ("env.loaded-late", Level.ERROR)
    assert (missing.subject, missing.cause) == (NAME, late)
    assert (other.subject, other.cause) == ("SHOP_OTHER", None), "the file does not have it"


def test_what_a_late_file_holds__twin__nobody_misses_it(tmp_path):
    late, fine = declare(tmp_path, f"{NAME}=1\n", late=True)
    assert (late.id, late.level, fine.id) == ("env.loaded-late", Level.WARNING, "env.ok")


def test_what_a_late_file_holds__twin__it_was_in_time(tmp_path):
    assert [found.id for found in declare(tmp_path, f"{NAME}=1\n", NAME)] == ["env.ok"]


def test_an_unresolved_reference(monkeypatch):
    monkeypatch.setenv(NAME, "${{Redis.REDIS_URL}}")
    with env.collecting():
        placeholder = env.url(NAME)
    [found] = run()
    assert (found.id, found.subject, found.level) == (
        "env.unresolved-reference",
        NAME,
        Level.ERROR,
    )
    skipped = env_probe.skipped_for("redis.default", {"LOCATION": placeholder})
    assert skipped is not None
    assert (skipped.skipped, skipped.cause) == (True, found_in_errors(NAME))


def found_in_errors(name: str) -> Finding:
    return next(found for found in env_probe.errors() if found.subject == name)


# ── in every report about the app ───────────────────────────────────────────────────────────────


def test_what_keeps_the_app_from_starting_is_in_every_report_about_it():
    with env.collecting():
        env.str(NAME)
    report = examine([], Deadline(1.0))
    assert [(f.id, f.area) for f in report.findings] == [("env.missing", "env")]
    assert report.exit_code == 1
    assert [f.id for f in examine(env_probe.probes(), Deadline(1.0)).findings] == ["env.missing"]
    built = examine([], Deadline(1.0), stage="build")
    assert (built.exit_code, built.findings[0].level) == (0, Level.WARNING)


def test_what_keeps_the_app__twin__a_report_about_something_else():
    with env.collecting():
        env.str(NAME)
    report = examine([], Deadline(1.0), app=False)
    assert (report.findings, report.exit_code) == ((), 0)


# ── in an image ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("deployed", [True, False])
def test_a_file_in_an_image_is_not_a_file_in_a_checkout(tmp_path, monkeypatch, deployed):
    """A container with a checkout in it is where somebody works."""
    if not deployed:
        (tmp_path / ".git").mkdir()
    monkeypatch.setattr(hosting, "mounts", lambda: iter([("/", "overlay")]))
    monkeypatch.setattr(conf, "detect_hosting", lambda: CONTAINER)
    (tmp_path / ".env").touch()
    env.load(tmp_path)
    assert ids() == (["env.dotenv-in-image", "env.ok"] if deployed else ["env.ok"])


def test_a_file_that_is_mounted_is_in_no_image(tmp_path, monkeypatch):
    monkeypatch.setattr(hosting, "mounts", lambda: iter([(str(tmp_path), "ext4")]))
    monkeypatch.setattr(conf, "detect_hosting", lambda: CONTAINER)
    (tmp_path / ".env").touch()
    env.load(tmp_path)
    assert ids() == ["env.ok"]
