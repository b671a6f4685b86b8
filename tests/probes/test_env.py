"""Broken files and variables, each with its one root cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience import conf, env, hosting
from resilience.env import early
from resilience.findings import Finding, Level
from resilience.probes import env as env_probe
from resilience.probes.base import Deadline
from resilience.probes.examine import examine
from tests.processes import SECRET_KEY, manage

NAME = "SHOP_VALUE"
CONTAINER = hosting.Hosting(in_container=True)


@pytest.fixture(autouse=True)
def laptop(monkeypatch) -> None:
    """Whatever these tests run in, and whatever other tests have imported."""
    monkeypatch.setattr(conf, "detect_hosting", hosting.Hosting)
    monkeypatch.setattr(early, "WATCHED", ())


def run() -> list[Finding]:
    """What is said of this process, but for the list of sources, which ends every report."""
    found = [found for probe in env_probe.probes() for found in probe.run(Deadline(1.0))]
    assert found[-1].id in {"env.ok", "env.sources"}
    return found[:-1] if found[-1].id == "env.sources" else found


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
    assert (found.id, found.level, found.area) == ("env.ok", Level.OK, "env")
    looked_for = f".env.local, .env in {tmp_path}"
    assert dict(found.facts) == {NAME: ".env:1", "looked_for": looked_for}


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
    asked = examine(env_probe.probes(), Deadline(1.0))
    assert [f.id for f in asked.findings] == ["env.missing", "env.sources"]
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


@pytest.mark.parametrize("above", [1, 3])
def test_a_project_deep_inside_a_checkout_is_in_one(tmp_path, monkeypatch, above):
    """The twin is the first case above: no folder at all has one."""
    project = tmp_path / "a" / "b" / "c"
    project.mkdir(parents=True)
    (project.parents[above - 1] / ".git").mkdir()
    monkeypatch.setattr(hosting, "mounts", lambda: iter([("/", "overlay")]))
    monkeypatch.setattr(conf, "detect_hosting", lambda: CONTAINER)
    (project / ".env").touch()
    env.load(project)
    assert ids() == ["env.ok"]


def test_what_nobody_can_know_is_not_claimed(tmp_path, monkeypatch):
    """The file may have been written later, by hand."""
    monkeypatch.setattr(hosting, "mounts", lambda: iter([("/", "overlay")]))
    monkeypatch.setattr(conf, "detect_hosting", lambda: CONTAINER)
    (tmp_path / ".env").touch()
    env.load(tmp_path)
    found = run()[0]
    assert "may be in the image" in found.summary
    assert found.hint.startswith("If it came with the image,")


def test_a_file_that_is_mounted_is_in_no_image(tmp_path, monkeypatch):
    monkeypatch.setattr(hosting, "mounts", lambda: iter([(str(tmp_path), "ext4")]))
    monkeypatch.setattr(conf, "detect_hosting", lambda: CONTAINER)
    (tmp_path / ".env").touch()
    env.load(tmp_path)
    assert ids() == ["env.ok"]


@pytest.mark.parametrize("name", [".env.local", ".env.staging"])
def test_every_file_that_was_read_counts(tmp_path, monkeypatch, name):
    monkeypatch.setattr(hosting, "mounts", lambda: iter([("/", "overlay")]))
    monkeypatch.setattr(conf, "detect_hosting", lambda: CONTAINER)
    monkeypatch.setenv("RESILIENCE_ENV", "staging")
    (tmp_path / name).touch()
    env.load(tmp_path)
    found = run()[0]
    assert (found.id, found.subject) == ("env.dotenv-in-image", name)
    assert name in found.hint


# ── where everything comes from ─────────────────────────────────────────────────────────────────


def last() -> Finding:
    return [found for probe in env_probe.probes() for found in probe.run(Deadline(1.0))][-1]


def test_every_declared_name_has_one_source_or_none(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("SHOP_A=1\n\nSHOP_NUMBER=x\nSHOP_EMPTY=\n")
    (tmp_path / "SHOP_KEY").write_text("1")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("SHOP_B", "1")
    monkeypatch.setenv("SHOP_C_FILE", str(tmp_path / "SHOP_KEY"))
    monkeypatch.setenv("SHOP_BOTH", "1")
    monkeypatch.setenv("SHOP_BOTH_FILE", str(tmp_path / "SHOP_KEY"))
    with env.collecting():
        env.load(tmp_path)
        for name in ("SHOP_A", "SHOP_B", "SHOP_C", "SHOP_KEY", "SHOP_MISSING"):
            env.str(name)
        env.int("SHOP_NUMBER")
        env.int("SHOP_BOTH", default=1)
        env.secret("SHOP_EMPTY")
        env.bool("SHOP_DEFAULT", default=True)
        env.ref("SHOP_LATER")
        env.ref("SHOP_B")
    found = last()
    assert (found.id, found.level) == ("env.sources", Level.INFO)
    assert found.summary == "10 declared variables, 3 without a value; read .env."
    facts = dict(found.facts)
    place = str(facts["SHOP_MISSING"]).removeprefix("missing, declared at ")
    assert place.startswith("tests/probes/test_env.py:")
    assert str(facts.pop("SHOP_LATER")).startswith("missing, declared at tests/probes/test_env.py:")
    assert facts == {
        "SHOP_A": ".env:1",
        "SHOP_B": "environment",
        "SHOP_C": f"SHOP_C_FILE → {tmp_path}/SHOP_KEY",
        "SHOP_KEY": f"{tmp_path}/SHOP_KEY",
        "SHOP_MISSING": f"missing, declared at {place}",
        "SHOP_NUMBER": ".env:3",
        "SHOP_BOTH": "no source, see env.file-and-value",
        "SHOP_EMPTY": ".env:4",
        "SHOP_DEFAULT": "default",
        "looked_for": f".env.local, .env in {tmp_path}",
    }


def test_a_reference_that_is_not_set_is_no_problem_of_the_environment():
    """What needs it says so: it is blocked."""
    env.ref(NAME)
    found = last()
    assert (found.id, found.summary) == ("env.ok", "1 declared variable, 1 without a value.")
    assert env_probe.errors() == []


def test_what_only_the_files_know_is_listed_by_name(tmp_path):
    (tmp_path / ".env").write_text(
        f"{NAME}=1\nSHOP_TYPO=1\nAbCdEfGh12=1\nJBSWY3DPEHPK3PXP=\nMZXW6YTBOI======\nMZXW6=\n"
    )
    env.load(tmp_path)
    env.str(NAME)
    assert last().facts["not_declared"] == "SHOP_TYPO"
    said = "1 declared variable, none without a value; read .env"
    assert last().summary == f"{said} with 1 name that nothing declares."
    env.str("SHOP_TYPO")
    assert "not_declared" not in last().facts
    assert last().summary == "2 declared variables, none without a value; read .env."


def test_where_nobody_looked_is_told(monkeypatch):
    assert dict(last().facts) == {}
    exec(compile("env.load()", "<string>", "exec"), {"env": env})  # noqa: S102 - as a console does
    assert "give it one" in str(last().facts["looked_for"])
    env.reset()
    monkeypatch.setenv("RESILIENCE_DOTENV", "off")
    env.load(Path.cwd())
    assert last().facts["looked_for"] == f"no file in {Path.cwd()}"


def test_a_choice_that_chose_nothing_is_not_repeated(tmp_path, monkeypatch):
    """Somebody may have put a secret there."""
    monkeypatch.setenv("RESILIENCE_ENV", "hunter22")
    env.load(tmp_path)
    assert last().facts["looked_for"] == f".env.local, .env.<RESILIENCE_ENV>, .env in {tmp_path}"
    env.reset()
    (tmp_path / ".env.hunter22").touch()
    env.load(tmp_path)
    assert last().facts["looked_for"] == f".env.local, .env.hunter22, .env in {tmp_path}"


@pytest.mark.parametrize("broken", [True, False])
def test_the_command_shows_the_sources(broken):
    variables = {"SECRET_KEY": SECRET_KEY, "DEBUG": "hunter22" if broken else "true"}
    for arguments in (["-v", "2"], ["--format", "json"]):
        ended = manage("checkdeploy", "env", *arguments, **variables)
        assert "hunter22" not in ended.out
        assert SECRET_KEY not in ended.out
        assert "DATABASE_URL" in ended.out
    facts = ended.find("env.sources" if broken else "env.ok")["facts"]
    assert (facts["SECRET_KEY"], facts["DATABASE_URL"]) == ("environment", "default")
    shown = manage("checkdeploy", "env", "-v", "2", **variables).out
    assert "SECRET_KEY = environment" in shown
    assert "DATABASE_URL" not in manage("checkdeploy", "env", **variables).out
