"""Every command in every format: the same verdict, no secret, nothing that a terminal obeys."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resilience.management.output import FORMATS
from resilience.simulation.network import Refused
from tests.commands.test_canary import CANARIES, assert_silent
from tests.processes import ROOT, SECRET_KEY, Ended, doctor, example_project, manage, write_project
from tests.render.test_github import commands
from tests.render.test_json import wrong_keys
from tests.render.test_junit import SCHEMA

BROKEN = "import os\nint(os.environ['INNOCENT'])\n"


@pytest.fixture(scope="module")
def nobody() -> Iterator[int]:
    with Refused() as port:
        yield port.port


def readable(form: str, out: str) -> bool:
    """Whether it is what the format promises, by its schema or a reader that is not ours."""
    if form == "json":
        return not wrong_keys(json.loads(out))
    if form == "junit":
        return SCHEMA.is_valid(out)
    if form == "github":
        names = [command.name for command in commands(out)]
        assert set(names) <= {"error", "warning", "notice", "group", "endgroup"}
        return "group" in names and out.rstrip().splitlines()[-1].endswith(")")
    return out.rstrip().splitlines()[-1].startswith(("PASS", "FAIL", "TIMEOUT"))


COMMANDS: list[tuple[list[str], int, tuple[str, ...]]] = [
    (["checkdeploy", "redis"], 1, FORMATS),
    (["checkdeploy", "env", "hosting"], 0, ("junit", "github")),
    (["checkdeploy", "--url", "http://127.0.0.1:{port}"], 1, ("text", "github")),
    (["checkredis"], 1, FORMATS),
    (["checktls", "127.0.0.1:{port}"], 1, FORMATS),
    (["auditimports", "json"], 0, FORMATS),
]


@pytest.mark.parametrize(
    ("command", "code", "form"),
    [(command, code, form) for command, code, forms in COMMANDS for form in forms],
    ids=lambda given: given[0] if isinstance(given, list) else str(given),
)
def test_the_verdict_is_the_same_in_every_format(command, code, form, nobody):
    canary = CANARIES[1]
    ended = manage(
        *(word.format(port=nobody) for word in command),
        *("--format", form),
        REDIS_URL=f"redis://:{canary}@127.0.0.1:{nobody}/0",
        STATUS_TOKEN=canary * 2,
        DEBUG="true",
    )
    assert ended.code == code, ended.out
    assert readable(form, ended.out)
    assert "\x1b" not in ended.out
    assert_silent(ended, canary)


@pytest.mark.parametrize("form", ["junit", "github"])
def test_settings_that_raise_are_told_in_every_format(form, tmp_path):
    project = write_project(tmp_path, BROKEN)
    ended = doctor(project, "checkdeploy", "--format", form, INNOCENT=CANARIES[0])
    assert (ended.code, readable(form, ended.out)) == (1, True)
    assert "django.setup-failed" in ended.out
    assert_silent(ended, CANARIES[0])


@pytest.mark.parametrize(
    ("form", "broken"),
    [
        ("json", ('"verdict"', '"result"')),
        ("junit", ("<testsuites ", "<testsuite ")),
        ("github", ("::group::", "##group")),
        ("text", ("PASS", "Done")),
    ],
)
def test_what_is_no_such_format__twin(form, broken):
    out = manage("checkdeploy", "hosting", "--format", form).out
    assert readable(form, out)
    assert broken[0] in out
    changed = out.replace(*broken).replace("</testsuites", f"</{broken[1][1:-1]}")
    assert not readable(form, changed)


# ── --url ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--url", "shop.example"], "with its scheme"),
        (["--url", "https://a:hunter2hunter2@b"], "the token comes from STATUS_TOKEN"),
        (["--commit", "0123456"], "--commit needs --url"),
        (["--url", "https://shop.example", "--commit", "main"], "hexadecimal"),
        (["--url", "https://shop.example", "redis"], "has no areas"),
    ],
)
def test_bad_usage_of_a_url_is_one_sentence_and_status_2(arguments, words):
    ended = manage("checkdeploy", *arguments)
    assert ended.code == 2
    assert words in ended.err.strip().splitlines()[-1]
    assert "hunter2" not in ended.err + ended.out


def test_a_token_that_no_header_can_hold_is_refused(nobody):
    ended = manage("checkdeploy", "--url", f"http://127.0.0.1:{nobody}", STATUS_TOKEN="a\r\nb: c")
    assert ended.code == 2
    assert "visible ASCII" in ended.err


def test_a_url_is_about_nothing_here(nobody):
    """A variable that this project lacks does not matter there."""
    url = f"http://127.0.0.1:{nobody}"
    ended = manage("checkdeploy", "--url", url, "--format", "json", SECRET_KEY=None)
    assert ended.ids == {"tcp.refused"}


# ── --wait on a terminal ────────────────────────────────────────────────────────────────────────


def on_a_terminal(*arguments: str, **variables: str) -> tuple[Ended, str]:
    """The command with a terminal as its stderr; its end and what the terminal was sent."""
    master, slave = pty.openpty()
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=example_project(),
        env={"PATH": os.environ["PATH"], "SECRET_KEY": SECRET_KEY, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    while child.poll() is None and time.monotonic() < began + 30:
        if select.select([master], [], [], 0.2)[0]:
            try:
                shown += os.read(master, 65536)
            except OSError:  # nobody holds the other side any more
                break
    out, _ = child.communicate(timeout=30)
    os.close(master)
    seconds = time.monotonic() - began
    return Ended(child.returncode, out.decode(), "", seconds), shown.decode()


def test_waiting_says_what_is_awaited(nobody):
    url = f"redis://127.0.0.1:{nobody}/0"
    ended, shown = on_a_terminal("checkdeploy", "redis", "--wait", "2.5", REDIS_URL=url)
    assert ended.code == 1
    assert 2.5 <= ended.seconds < 15
    lines = re.split("\r\x1b\\[K", shown)
    waits = [line for line in lines if "of 2: still" in line]
    assert len(waits) >= 2
    assert all(f"still redis.127.0.0.1:{nobody}/0 tcp.refused" in line for line in waits)
    assert all(len(line) <= 78 for line in lines)
    assert shown.endswith("\r\x1b[K"), "the line is gone when the report comes"
    assert "\x1b" not in ended.out


def test_waiting__twin__without_a_terminal_there_is_no_line(nobody):
    url = f"redis://127.0.0.1:{nobody}/0"
    ended = manage("checkdeploy", "redis", "--wait", "1.2", REDIS_URL=url)
    assert (ended.code, ended.err) == (1, "")


def test_the_formats_are_those_of_the_help():
    helped = manage("checkdeploy", "--help").out
    assert f"{{{','.join(FORMATS)}}}" in helped
    assert Path(ROOT, "resilience/render").is_dir()
