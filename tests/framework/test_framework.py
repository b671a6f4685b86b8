"""The example's four phases, end to end: gunicorn, the real clients, services over HTTP and TLS."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from resilience.components.langsmith import FLUSH
from resilience.simulation.authority import Authority
from tests.processes import ROOT, SECRET_KEY, Ended, example_project, manage, run, serve
from tests.servers import free_port
from tests.services import LangSmith, OpenAI

OPENAI_KEY, LANGSMITH_KEY = "sk-canary-0123456789", "lsv2_canary_0123456789"
QUESTION = "Why is the sky blue?"


class Site(NamedTuple):
    """The running example project and what it talks to."""

    url: str
    openai: OpenAI
    langsmith: LangSmith
    log: Path

    def get(self) -> requests.Response:
        return requests.get(f"{self.url}/framework/", timeout=10)

    def ask(self, question: str) -> requests.Response:
        """POST as a page of the site would: with the cookie and the token against forgery."""
        with requests.Session() as session:
            token = session.get(f"{self.url}/framework/", timeout=10).cookies["csrftoken"]
            form = {"question": question, "csrfmiddlewaretoken": token}
            return session.post(f"{self.url}/framework/", form, timeout=20)


def variables(openai: OpenAI, langsmith: LangSmith) -> dict[str, str]:
    """What makes a process use these two."""
    return {
        "OPENAI_API_KEY": openai.key,
        "OPENAI_BASE_URL": openai.base_url,
        "LANGSMITH_TRACING": "1",  # which the SDK alone would not take for on
        "LANGSMITH_API_KEY": langsmith.key,
        "LANGSMITH_ENDPOINT": langsmith.origin,
    }


@contextmanager
def gunicorn(log: Path, **more: str) -> Iterator[str]:
    """The example project in its own server, as its container runs it, until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "opsproject.wsgi", "--bind", f"127.0.0.1:{port}"]
    config = ["--config", str(ROOT / "gunicorn.conf.py")]
    environment = {"SECRET_KEY": SECRET_KEY, "DEBUG": "true", "PYTHONPATH": str(ROOT), **more}
    with serve(
        [*command, *config], log=log, patience=20, cwd=example_project(), env=environment
    ) as process:
        url = f"http://127.0.0.1:{port}"
        _await(url, process, log)
        yield url


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise RuntimeError(f"gunicorn did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def site(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """LangSmith stands behind TLS of an authority that only SSL_CERT_FILE makes known."""
    folder = tmp_path_factory.mktemp("site")
    log = folder / "gunicorn.log"
    with (
        OpenAI(OPENAI_KEY) as openai,
        LangSmith(LANGSMITH_KEY, tls=authority.server_context("localhost")) as langsmith,
        gunicorn(
            log,
            **variables(openai, langsmith),
            SSL_CERT_FILE=str(authority.write_ca(folder / "ca.pem")),
        ) as url,
    ):
        yield Site(url, openai, langsmith, log)


@pytest.fixture
def healthy(site: Site) -> Iterator[Site]:
    """The site while a test may change what the services answer."""
    yield site
    site.openai.reply, site.openai.finish_reason = OpenAI.reply, OpenAI.finish_reason
    site.openai.status, site.openai.key = 200, OPENAI_KEY
    site.langsmith.status = 200


# ── all four phases ─────────────────────────────────────────────────────────────────────────────


def test_a_question_is_answered_and_traced(healthy):
    answered = healthy.ask(QUESTION)
    assert (answered.status_code, answered.json()) == (
        200,
        {
            "question": QUESTION,
            "answer": OpenAI.reply,
            "good": True,
            "why": "the model ended by itself",
        },
    )
    assert healthy.openai.prompts[-1].endswith(QUESTION)
    root = healthy.langsmith.named("framework", question=QUESTION)[0]
    children = healthy.langsmith.named("ChatOpenAI")
    assert [child["parent_run_id"] for child in children].count(root["id"]) == 1
    assert root["outputs"]["answer"] == OpenAI.reply
    sent = b"".join(request.body for request in healthy.langsmith.requests)
    for key in (OPENAI_KEY, LANGSMITH_KEY, SECRET_KEY):
        assert key.encode() not in sent
    phases = healthy.get().json()["phases"]
    assert all(state.startswith("ready") for state in phases.values()), phases


def test_what_was_learned_is_gathered_the_next_time(healthy):
    healthy.openai.reply = "Because of Rayleigh."
    healthy.ask("Why are sunsets red?")
    assert "Rayleigh" not in healthy.openai.prompts[-1]
    healthy.ask("why are  SUNSETS red?")
    assert "Because of Rayleigh." in healthy.openai.prompts[-1]


@pytest.mark.parametrize(
    ("reply", "finish_reason", "why"),
    [
        ("Because of", "length", "the model stopped because of length"),
        (" ", "stop", "the model said nothing"),
    ],
)
def test_what_was_learned__twin__a_bad_answer_is_not(reply, finish_reason, why, healthy):
    healthy.openai.reply, healthy.openai.finish_reason = reply, finish_reason
    question = f"Why is grass green, {finish_reason}?"
    answered = healthy.ask(question).json()
    assert (answered["good"], answered["why"]) == (False, why)
    healthy.ask(question)
    assert "before" not in healthy.openai.prompts[-1]


# ── honest failures of a running site ───────────────────────────────────────────────────────────


def test_the_models_service_fails(healthy):
    healthy.openai.status = 500
    answered = healthy.ask(QUESTION)
    assert answered.status_code == 502
    assert "Error code: 500" in answered.json()["error"]


def test_the_key_is_refused(healthy):
    healthy.openai.key = "another"
    answered = healthy.ask(QUESTION)
    assert answered.status_code == 502
    assert "Error code: 401" in answered.json()["error"]
    assert OPENAI_KEY not in answered.text + healthy.log.read_text()


def test_without_langsmith_the_answer_is_the_same(healthy):
    healthy.langsmith.status = 503
    assert healthy.ask(QUESTION).json()["answer"] == OpenAI.reply


def test_a_langsmith_that_says_nothing_holds_up_no_answer_and_no_end(tmp_path):
    with OpenAI(OPENAI_KEY) as openai, LangSmith(LANGSMITH_KEY) as langsmith:
        langsmith.delay = 60.0
        with gunicorn(tmp_path / "log", **variables(openai, langsmith)) as url:
            site = Site(url, openai, langsmith, tmp_path / "log")
            site.ask(QUESTION)  # the first builds the clients
            began = time.monotonic()
            assert site.ask(QUESTION).json()["answer"] == OpenAI.reply
            assert time.monotonic() - began < 1.0
            began = time.monotonic()
        assert time.monotonic() - began < FLUSH + 3.0


def test_what_is_no_question(healthy):
    assert healthy.ask(" ").status_code == 400
    forged = requests.post(f"{healthy.url}/framework/", {"question": QUESTION}, timeout=5)
    assert forged.status_code == 403


def test_the_last_traces_are_sent_when_the_server_ends(authority, tmp_path):
    """And refused where nobody made the authority known: the twin."""
    for known in (True, False):
        trusted = {"SSL_CERT_FILE": str(authority.write_ca(tmp_path / "ca.pem"))} if known else {}
        with (
            OpenAI(OPENAI_KEY) as openai,
            LangSmith(LANGSMITH_KEY, tls=authority.server_context("localhost")) as langsmith,
        ):
            with gunicorn(tmp_path / "log", **variables(openai, langsmith), **trusted) as url:
                site = Site(url, openai, langsmith, tmp_path / "log")
                assert site.ask(QUESTION).status_code == 200
            assert len(langsmith.named("framework", within=0.0)) == int(known)
            assert ("CERTIFICATE_VERIFY_FAILED" in site.log.read_text()) is not known


# ── honest failures of a deployment ─────────────────────────────────────────────────────────────

ASK = """
import json, sys
import django
from django.test import Client
django.setup()
early = sorted({"langsmith", "langchain_openai", "langchain_core", "openai"} & set(sys.modules))
client = Client()
home, told = client.get("/").status_code, client.get("/framework/")
asked = client.post("/framework/", {"question": "Why?"})
print(json.dumps({
    "early": early, "home": home,
    "get": [told.status_code, told.json()], "post": [asked.status_code, asked.json()],
}))
"""
DECLARED = "declared in opsproject/settings.py:"


def ask(*options: str, code: str = ASK, **more: str) -> dict[str, Any]:
    """What a process of the example project answers, and what it had imported before."""
    ended = _ask(*options, code=code, **more)
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out.splitlines()[-1])
    assert found["early"] == [], "nothing of a component is imported at start-up"
    assert found["home"] == 200, "and no other page notices"
    return found


def _ask(*options: str, code: str, **more: str) -> Ended:
    known = {
        "SECRET_KEY": SECRET_KEY,
        "DEBUG": "true",
        "DJANGO_SETTINGS_MODULE": "opsproject.settings",
        "ALLOWED_HOSTS": "testserver",
    }
    command = (sys.executable, *options, "-c", code)
    return run(*command, cwd=example_project(), variables={**known, **more})


def test_the_key_is_missing():
    told = ask()
    status, body = told["get"]
    assert status == 503
    phases = body["phases"]
    blocked = f"blocked: OPENAI_API_KEY is not set ({DECLARED}"
    assert phases["framework.gather"] == "not-loaded"
    assert phases["framework.reason"].startswith(blocked)
    line = int(phases["framework.reason"].rpartition(DECLARED)[2].rstrip(")"))
    settings = (ROOT / "opsproject" / "settings.py").read_text().splitlines()
    assert "OPENAI_API_KEY" in settings[line - 1]
    for name in ("framework.evaluate", "framework.learn"):
        assert "framework.reason" in phases[name]
        assert "OPENAI_API_KEY is not set" in phases[name]
    status, body = told["post"]
    assert status == 503
    assert f"OPENAI_API_KEY is not set ({DECLARED}" in body["error"]


def test_the_key_is_missing__twin__with_one_all_is_well():
    status, body = ask(OPENAI_API_KEY=OPENAI_KEY)["get"]
    assert (status, set(body["phases"].values())) == (200, {"not-loaded"})


def test_the_package_is_missing(tmp_path):
    """A site-packages that has everything but one: nothing of Python is replaced."""
    site = next(Path(each) for each in sys.path if each.endswith("site-packages"))
    for each in site.iterdir():
        if not each.name.startswith("langchain_openai"):
            (tmp_path / each.name).symlink_to(each)
    told = ask("-S", OPENAI_API_KEY=OPENAI_KEY, PYTHONPATH=str(tmp_path))
    status, body = told["post"]
    assert status == 503
    assert "the package langchain-openai is not installed" in body["error"]
    assert "pip install" in body["error"]
    assert told["get"][0] == 503


@pytest.mark.parametrize("name", ["gather", "learn"])
def test_a_phase_is_missing(name, tmp_path):
    (tmp_path / "less.py").write_text(
        f'from opsproject.settings import *\ndel RESILIENCE["COMPONENTS"]["framework.{name}"]\n'
    )
    told = ask(
        OPENAI_API_KEY=OPENAI_KEY,
        DJANGO_SETTINGS_MODULE="less",
        PYTHONPATH=f"{tmp_path}:{example_project()}",
    )
    for status, body in (told["get"], told["post"]):
        assert status == 503
        assert f"framework.{name}" in json.dumps(body)
        assert "nothing declares it" in body["phases"][f"framework.{name}"]


def test_tracing_is_wanted_and_its_key_is_missing():
    told = ask(OPENAI_API_KEY=OPENAI_KEY, LANGSMITH_TRACING="true")
    status, body = told["post"]
    assert status == 503
    assert f"LANGSMITH_API_KEY is not set ({DECLARED}" in body["error"]


def test_nobody_else_spends_the_money():
    """Without DEBUG a visitor is sent away, and learns nothing of the configuration."""
    told = ask(DEBUG="false", HTTPS="false", OPENAI_API_KEY=OPENAI_KEY)
    assert told["get"] == told["post"] == [403, {"error": "Sign in as staff at /admin/."}]


def test_nobody_else_spends_the_money__twin__staff_may(tmp_path):
    database = f"sqlite:///{tmp_path}/db.sqlite3"
    assert manage("migrate", "--verbosity", "0", DATABASE_URL=database).code == 0
    login = (
        "from django.contrib.auth.models import User\n"
        'client.force_login(User.objects.create_user("ada", is_staff=True))\n'
    )
    code = ASK.replace("home, told", f"{login}home, told")
    told = ask(code=code, DEBUG="false", HTTPS="false", DATABASE_URL=database)
    assert [told["get"][0], told["post"][0]] == [503, 503], "signed in, and told what is missing"


# ── the doctor ──────────────────────────────────────────────────────────────────────────────────


def test_the_doctor_asks_the_models_service_for_nothing_that_costs():
    with OpenAI(OPENAI_KEY) as openai:
        found = {"OPENAI_BASE_URL": openai.base_url, "OPENAI_API_KEY": OPENAI_KEY}
        ended = manage("checkdeploy", "components", "--format", "json", **found)
        assert ended.code == 0, ended.out
        assert [request.path for request in openai.requests] == ["/v1/models"]
        openai.key = "another"
        refused = manage("checkdeploy", "components", "--format", "json", **found)
    assert "Error code: 401" in refused.out
    assert OPENAI_KEY not in refused.out + refused.err
