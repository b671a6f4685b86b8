"""What the report says of components: one root cause for a chain, and no more built than asked."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import openai
import pytest
import requests

from resilience import conf, env
from resilience.components import components
from resilience.findings import Finding, Level
from resilience.probes import areas, runner
from resilience.probes.base import Deadline
from resilience.probes.examine import examine
from resilience.render import text
from resilience.simulation.authority import Authority
from resilience.simulation.fake_openai import FakeOpenAI
from resilience.tls import policy
from tests.components.parts import MAKE, PART, forget, hooks, made, probed
from tests.probes.conftest import Hosted
from tests.processes import doctor, write_project

KEY = "SHOP_LLM_KEY"
PROBE = "tests.components.parts.probe"


@pytest.fixture(autouse=True)
def clean_parts() -> Any:
    forget()
    yield
    forget()


def declare(settings: Any, **specs: Mapping[str, object]) -> None:
    settings.RESILIENCE = {**settings.RESILIENCE, "COMPONENTS": specs}


def run(stage: str = "run", seconds: float = 5.0) -> list[Finding]:
    """As ``checkdeploy components``, without the finding that only counts."""
    probes = areas.probes_of(["components"], stage)
    return [
        finding
        for finding in examine(probes, Deadline(seconds), stage=stage).findings
        if (finding.id, finding.subject) != ("components.ok", "components")
        and not finding.id.startswith("env.")
    ]


def brief(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.id, finding.subject.removeprefix("components.")) for finding in found]


def part(**spec: object) -> dict[str, object]:
    return {"BACKEND": PART, **spec}


def test_without_components_there_is_one_line():
    (found,) = runner.run(areas.probes_of(["components"]), Deadline(1.0))
    assert (found.id, found.summary) == ("components.ok", "None is declared.")


def test_how_many_there_are(settings):
    """And not how they do: that may change while their PROBEs are asked, and has its own lines."""
    hooks["x"] = lambda: 1 / 0
    failing = {"BACKEND": MAKE, "OPTIONS": {"name": "x"}, "PROBE": PROBE}
    declare(settings, a=part(), b=part(PACKAGES=["no-such-package"]), c=failing)
    found, *others = runner.run(areas.probes_of(["components"]), Deadline(5.0))
    assert found.summary == "3 declared."
    assert brief(others) == [
        ("components.not-loaded", "a"),
        ("components.blocked", "b"),
        ("components.failed", "c"),
    ]


def test_what_could_be_built_is_not(settings):
    declare(settings, a=part(PACKAGES=["django>=4"]))
    (found,) = run()
    assert (found.id, found.level) == ("components.not-loaded", Level.OK)
    assert made == []
    assert "django>=4" in found.facts


@pytest.mark.parametrize(
    ("platform", "stage", "level"),
    [
        ("none", "run", Level.WARNING),
        ("railway", "run", Level.ERROR),
        ("railway", "build", Level.WARNING),
    ],
)
def test_a_missing_variable(settings, hosted: Hosted, platform, stage, level):
    hosted(platform)
    ref = env.ref(KEY)
    declare(settings, llm=part(OPTIONS={"key": ref}))
    (found,) = run(stage)
    assert (found.id, found.level, found.location) == ("components.blocked", level, ref.location)
    assert found.summary == f"Blocked: {KEY} is not set (declared in {ref.location})."
    assert found.hint.startswith(f"Set {KEY} in the environment")
    assert dict(found.facts) == {KEY: "missing"}


def test_a_missing_variable__twin(settings, monkeypatch):
    monkeypatch.setenv(KEY, "canary-7f3a9c51d2")
    declare(settings, llm=part(OPTIONS={"key": env.ref(KEY)}))
    (found,) = run()
    assert (found.id, dict(found.facts)) == ("components.not-loaded", {KEY: "environment"})


def test_a_chain_has_one_root_cause(settings, hosted: Hosted):
    hosted("railway")
    declare(
        settings,
        gather=part(),
        reason=part(REQUIRES=["gather"], OPTIONS={"key": env.ref(KEY)}),
        evaluate=part(REQUIRES=["reason"], PROBE=PROBE),
        learn=part(REQUIRES=["evaluate"], OPTIONS={"key": env.ref(KEY)}),
    )
    found = run()
    assert brief(found) == [
        ("components.not-loaded", "gather"),
        ("components.blocked", "reason"),
        ("components.blocked", "evaluate"),
        ("components.blocked", "learn"),
    ]
    assert [finding.is_root_cause for finding in found] == [False, True, False, False]
    for finding in found[2:]:
        assert finding.cause is not None
        assert finding.cause.subject == "components.reason"
        assert finding.summary == "Blocked: it waits for reason."
    assert probed == []


def test_the_report_shows_the_chain_as_one_problem(settings, hosted: Hosted):
    hosted("none")
    declare(settings, a=part(OPTIONS={"key": env.ref(KEY)}), b=part(REQUIRES=["a"]))
    report = examine(areas.probes_of(["components"]), Deadline(5.0))
    shown = text.render(report, verbosity=2)
    assert shown.count(f"{KEY} is not set") == 1
    assert "so: components.b (components.blocked) Blocked: it waits for a." in shown
    assert f"{KEY} = missing" in shown
    assert f"{KEY} = missing" not in text.render(report, verbosity=1)


def test_a_circle_is_one_root_cause(settings):
    declare(settings, a=part(REQUIRES=["b"]), b=part(REQUIRES=["a"]), c=part(REQUIRES=["b"]))
    found = run()
    assert brief(found)[:2] == [("components.cycle", "a"), ("components.cycle", "b")]
    assert found[0].summary == "It requires itself: a → b → a."
    assert [finding.is_root_cause for finding in found] == [True, False, False]
    assert found[2].cause is not None
    assert found[2].cause.id == "components.cycle"


def test_an_unknown_requirement(settings):
    declare(settings, llm=part(), a=part(REQUIRES=["lm"]), b=part(REQUIRES=["a"]))
    _, found, follows = run()
    assert (found.id, found.level) == ("components.unknown", Level.ERROR)
    assert found.summary == "Blocked: it requires lm, which nothing declares."
    assert found.hint == "Did you mean 'llm'?"
    assert follows.id == "components.blocked"
    assert follows.cause is not None
    assert brief([follows.cause]) == brief([found])


def test_a_wrong_declaration_is_told_once(settings):
    declare(settings, llm={"BACKED": PART}, b=part(REQUIRES=["llm"]))
    found = run()
    assert brief(found) == [("conf.invalid", "llm"), ("components.blocked", "b")]
    assert found[1].cause is not None
    assert found[1].cause.id == "conf.invalid"


def test_a_wrong_declaration_in_code_is_told_too():
    components.register("llm", {"BACKED": PART}, "shop/components.py:3")
    (found,) = run()
    assert (found.id, found.location) == ("conf.invalid", "shop/components.py:3")


def test_a_file_that_could_not_be_read(caplog):
    components.declare("shop.components", {}, "shop.components cannot be imported")
    (found,) = run()
    assert (found.id, found.level, found.subject) == (
        "conf.invalid",
        Level.ERROR,
        "shop.components",
    )


def test_a_failed_one_shows_its_first_traceback(settings):
    def broken() -> None:
        raise ValueError("boom")

    hooks["x"] = broken
    declare(settings, a={"BACKEND": MAKE, "OPTIONS": {"name": "x"}}, b=part(REQUIRES=["a"]))
    with pytest.raises(Exception, match="boom"):
        components["a"]
    found, follows = run()
    assert (found.id, found.level) == ("components.failed", Level.ERROR)
    assert "ValueError: boom (attempt 1" in found.summary
    assert found.location is not None
    assert "test_components.py:" in found.location
    assert found.facts["traceback"] == "ValueError: boom"
    assert "in broken" in str(found.facts["traceback_1"])
    assert "in make" in str(found.facts["traceback_2"])
    assert "traceback_3" not in found.facts, "neither importlib nor the registry"
    assert follows.cause is not None
    assert brief([follows.cause]) == brief([found])


# ── PROBE ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("probe", [PROBE, "tests.components.parts.aprobe"])
def test_a_probe_gets_the_object_which_is_built_for_it(settings, probe):
    declare(settings, a=part(), b=part(REQUIRES=["a"], PROBE=probe))
    found = run()
    assert brief(found) == [("components.not-loaded", "a"), ("components.ok", "b")] or brief(
        found
    ) == [("components.ok", "a"), ("components.ok", "b")], "what it requires may be ready by then"
    assert "its PROBE answered in" in found[-1].summary
    assert probed == [components["b"]]


def test_a_build_image_builds_and_asks_nothing(settings):
    declare(settings, b=part(PROBE=PROBE), c=part(PROBE=PROBE, PACKAGES=["no-such-package"]))
    assert brief(run("build")) == [("components.blocked", "c")]
    assert made == probed == []


def test_what_is_built_already_is_asked(settings):
    declare(settings, a=part(PROBE=PROBE))
    ours = components["a"]
    run()
    run()
    assert probed == [ours, ours]
    assert made == [ours]


def refuse(made: object) -> None:
    raise PermissionError("the service says canary-7f3a9c51d2")


@pytest.mark.parametrize(
    ("hook", "said"),
    [(refuse, "PermissionError: the service says ***"), (lambda _: False, "it answered False")],
)
def test_a_probe_that_fails(settings, hook, said, monkeypatch):
    monkeypatch.setenv(KEY, "canary-7f3a9c51d2")
    hooks["probe"] = hook
    declare(settings, a=part(PROBE=PROBE, OPTIONS={"key": env.ref(KEY)}))
    (found,) = run()
    assert (found.id, found.level) == ("components.probe-failed", Level.ERROR)
    assert said in found.summary
    assert components.status("a").state == "ready"


# ── a handshake behind the error ────────────────────────────────────────────────────────────────


@pytest.fixture
def system(monkeypatch, tmp_path: Path) -> Path:
    """The system's store, an empty folder; certifi is there as ever."""
    folder = tmp_path / "store"
    folder.mkdir()
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    nothing = ssl.get_default_verify_paths()._replace(
        openssl_cafile=str(tmp_path / "none"), openssl_capath=str(folder)
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    monkeypatch.setattr("resilience.tls.reading._ELSEWHERE", ())
    policy.reset()
    return folder


def by_urllib(url: str) -> None:
    urlopen(f"{url}/models", timeout=5.0)  # noqa: S310 - a service of ours


def by_requests(url: str) -> None:
    requests.get(f"{url}/models", timeout=5.0)


def by_openai(url: str) -> None:
    openai.OpenAI(api_key="sk-x", base_url=url, max_retries=0, timeout=5.0).models.list()


@pytest.fixture
def stranger() -> Iterator[str]:
    """An https service whose authority nobody knows; its address."""
    context = Authority().server_context("localhost", "127.0.0.1")
    with FakeOpenAI("sk-x", tls=context) as service:
        yield service.base_url


@pytest.mark.parametrize("client", [by_urllib, by_requests, by_openai])
def test_an_empty_store_explains_a_certificate_without_issuer(settings, system, stranger, client):
    hooks["probe"] = lambda _: client(stranger)
    declare(settings, a=part(PROBE=PROBE))
    (found,) = run()
    assert found.id == "components.probe-failed"
    assert found.cause is not None
    assert (found.cause.id, found.cause.subject) == ("tls.empty-store", "tls")
    both = examine(areas.probes_of(["tls", "components"]), Deadline(5.0))
    assert "so: components.a (components.probe-failed)" in text.render(both)


@pytest.mark.parametrize("client", [by_urllib, by_requests, by_openai])
def test_a_store_that_has_something_explains_nothing__twin(settings, system, stranger, client):
    (system / "0a1b2c3d.0").write_bytes(Authority().ca_pem)
    hooks["probe"] = lambda _: client(stranger)
    declare(settings, a=part(PROBE=PROBE))
    (found,) = run()
    assert (found.id, found.cause) == ("components.probe-failed", None)


def _expired() -> None:
    authority = Authority()
    with FakeOpenAI("sk-x", tls=authority.server_context("localhost", expired=True)) as service:
        urlopen(service.base_url, timeout=5.0, context=authority.client_context())  # noqa: S310


def _in_a_circle() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


@pytest.mark.parametrize(
    "fault", [lambda: 1 / 0, _expired, _in_a_circle, lambda: by_urllib("https://[::1]:1")]
)
def test_an_empty_store_explains_no_other_error__twin(settings, system, fault):
    hooks["probe"] = lambda _: fault()
    declare(settings, a=part(PROBE=PROBE))
    (found,) = run()
    assert (found.id, found.cause) == ("components.probe-failed", None)


@pytest.mark.parametrize("hook", [lambda _: None, lambda _: True, lambda _: 0])
def test_a_probe_that_fails__twin(settings, hook):
    hooks["probe"] = hook
    declare(settings, a=part(PROBE=PROBE))
    assert brief(run()) == [("components.ok", "a")]


def test_a_probe_that_does_not_exist(settings):
    declare(settings, a=part(PROBE="tests.components.parts.porbe"))
    (found,) = run()
    assert found.id == "components.probe-failed"
    assert "Did you mean 'probe'?" in found.summary


def test_a_component_with_a_probe_that_cannot_be_built(settings):
    hooks["x"] = lambda: 1 / 0
    spec = {"BACKEND": MAKE, "OPTIONS": {"name": "x"}, "PROBE": PROBE}
    declare(settings, a=spec, b=part(REQUIRES=["a"], PROBE=PROBE))
    found = {finding.subject: finding for finding in run()}
    assert found["components.a"].id == "components.failed"
    assert "ZeroDivisionError" in found["components.a"].summary
    assert not found["components.b"].is_root_cause
    assert probed == []


def test_a_probe_that_hangs_is_given_up(settings):
    forever = threading.Event()
    hooks["probe"] = lambda _: forever.wait(10)
    hooks["x"] = lambda: forever.wait(10)
    slow = {"BACKEND": MAKE, "OPTIONS": {"name": "x"}, "PROBE": "tests.components.parts.make"}
    declare(settings, a=part(PROBE=PROBE), b=slow)
    found = run(seconds=0.3)
    forever.set()
    assert brief(found) == [("probe.timeout", "a"), ("probe.timeout", "b")]


# ── as a command ────────────────────────────────────────────────────────────────────────────────

SETTINGS = """
SECRET_KEY = "x" * 60
INSTALLED_APPS = ["resilience"]
from resilience import env
env.load()
NEEDED = env.str("SHOP_NEEDED")
RESILIENCE = {"COMPONENTS": {
    "reason": {"BACKEND": "shop.Chat", "OPTIONS": {"key": env.ref("SHOP_LLM_KEY")}},
    "learn": {"BACKEND": "shop.Chat", "OPTIONS": {"url": NEEDED}, "REQUIRES": ["reason"]},
    "broken": {"BACKEND": "shop.Broken", "PROBE": "shop.Broken"},
}}
"""
SHOP = """
class Chat:
    def __init__(self, **options): pass
class Broken:
    def __init__(self): int("canary-7f3a9c51d2")
"""


def test_the_doctor_says_all_of_it(tmp_path):
    project = write_project(tmp_path, SETTINGS)
    (tmp_path / "shop.py").write_text(SHOP)
    command = ("checkdeploy", "components", "-v", "2")
    ended = doctor(project, *command, "--format", "json")
    assert ended.roots == [
        ("env.missing", "SHOP_NEEDED"),
        ("components.failed", "components.broken"),
    ]
    blocked = [f for f in ended.report["findings"] if f["subject"] == "components.reason"]
    assert [(f["id"], f["level"], f["location"]) for f in blocked] == [
        ("components.blocked", "warning", "site_settings.py:8")
    ]
    skipped = [f for f in ended.report["findings"] if f["subject"] == "components.learn"]
    assert [(f["id"], f["skipped"]) for f in skipped] == [("env.missing", True)]
    shown = doctor(project, *command)
    assert "traceback = ValueError" in shown.out
    assert "shop.py" in shown.out
    assert "canary" not in shown.out + shown.err + ended.out + ended.err


def test_the_doctor__twin(tmp_path):
    project = write_project(tmp_path, SETTINGS)
    (tmp_path / "shop.py").write_text(SHOP.replace('int("canary-7f3a9c51d2")', "pass"))
    variables = {"SHOP_NEEDED": "x", "SHOP_LLM_KEY": "y"}
    ended = doctor(project, "checkdeploy", "components", "--format", "json", **variables)
    assert ended.roots == [("components.probe-failed", "components.broken")], (
        "a class of no argument is no probe"
    )
    assert conf.get().COMPONENTS == {}
