"""What was built is closed in its order, within bounds, however a process ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from resilience.components import closing
from resilience.components.registry import Registry
from resilience.errors import ComponentUnavailable
from tests.components.parts import MAKE, PART, Part, closed, hooks
from tests.processes import ROOT, Ended, run
from tests.waiting import until


@pytest.fixture
def registry() -> Registry:
    return Registry()


def chain(registry: Registry, **closes: str) -> None:
    """Of four the second requires the first and the third the second."""
    for name, requires in (("a", []), ("b", ["a"]), ("c", ["b"]), ("d", [])):
        options = {"name": name}
        close = closes.get(name, "close")
        spec = {"BACKEND": PART, "OPTIONS": options, "REQUIRES": requires, "CLOSE": close}
        registry.register(name, spec)


def test_in_reverse_order_of_requirement(registry):
    chain(registry)
    registry["d"], registry["c"]
    registry.close()
    assert closed == ["c", "b", "a", "d"]
    assert {registry.status(name).state for name in registry} == {"closed"}
    registry.close()
    assert len(closed) == 4, "once"


def test_a_close_may_use_what_it_requires_and_not_what_is_closed(registry):
    told: list[str] = []

    class Flushing(Part):
        def close(self) -> None:
            told.append(f"{self.options['own']}: {', '.join(map(usable, 'abc'))}")

    def usable(name: str) -> str:
        try:
            return f"{name} {type(registry[name]).__name__}"
        except ComponentUnavailable as error:
            return f"{name} {error.state}"

    hooks["flushing"] = Flushing
    for name, requires in (("a", []), ("b", ["a"]), ("c", ["b"])):
        options = {"name": "flushing", "own": name}
        spec = {"BACKEND": MAKE, "OPTIONS": options, "REQUIRES": requires, "CLOSE": "close"}
        registry.register(name, spec)
    registry["c"]
    registry.close()
    assert told == [
        "c: a Flushing, b Flushing, c closed",
        "b: a Flushing, b closed, c closed",
        "a: a closed, b closed, c closed",
    ]


def test_an_interrupt_while_all_is_closed_leaves_the_rest_for_later(registry, monkeypatch):
    def interrupted(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    chain(registry)
    registry["c"]
    monkeypatch.setattr(closing, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        registry.close()
    registry.close()
    assert closed == ["b", "a"], "the first was interrupted, and is not closed twice"


def test_what_was_not_built_is_not_closed_and_nothing_is_built_afterwards(registry):
    chain(registry)
    registry["b"]
    registry.close()
    assert closed == ["b", "a"]
    with pytest.raises(ComponentUnavailable, match="closed"):
        registry["c"]
    registry.register("late", {"BACKEND": PART})
    with pytest.raises(ComponentUnavailable, match="closed"):
        registry["late"]


def test_ways_to_close(registry):
    chain(registry, a="tests.components.parts.close", b="aclose")
    registry["c"]
    registry.close()
    assert closed == ["c", "async b", "by path a"]


def test_without_close_nothing_is_called(registry):
    registry.register("a", {"BACKEND": PART})
    registry["a"]
    registry.close()
    assert closed == []


def test_what_goes_wrong_is_a_line_in_the_log_and_the_others_are_closed(registry, caplog):
    chain(registry, c="no_such_method", b="tests.no_such_module.close", d="options")
    registry["c"], registry["d"]
    registry.close()
    assert closed == ["a"]
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.split()[1] for line in said] == ["d", "c", "b"]
    assert "no_such_method" in said[1]


def test_one_that_hangs_takes_its_time_and_no_more(registry, monkeypatch, caplog):
    monkeypatch.setattr(closing, "CLOSE_ONE", 0.1)
    forever = threading.Event()

    class Hanging(Part):
        def close(self) -> None:
            forever.wait(10)

    hooks["hanging"] = Hanging
    chain(registry)
    spec = {"BACKEND": MAKE, "OPTIONS": {"name": "hanging"}, "REQUIRES": ["c"], "CLOSE": "close"}
    registry.register("e", spec)
    registry["e"]
    began = time.monotonic()
    registry.close()
    assert 0.1 <= time.monotonic() - began < 1
    forever.set()
    assert closed == ["c", "b", "a"]
    assert "component e was not closed: it did not end within 0.1 s" in caplog.text


def test_all_together_have_a_bound_too(registry, monkeypatch):
    monkeypatch.setattr(closing, "CLOSE_ONE", 0.1)
    monkeypatch.setattr(closing, "CLOSE_ALL", 0.25)
    forever = threading.Event()
    hooks["x"] = lambda **_: forever
    for number in range(20):
        spec = {"BACKEND": MAKE, "OPTIONS": {"name": "x"}, "CLOSE": "wait"}
        registry.register(f"x{number}", spec)
        registry[f"x{number}"]
    began = time.monotonic()
    registry.close()
    assert time.monotonic() - began < 1
    forever.set()


def test_what_is_completed_while_all_is_closed_is_closed_as_well(registry):
    began, go_on = threading.Event(), threading.Event()
    caught: list[ComponentUnavailable] = []

    def slow(**_: Any) -> Part:
        began.set()
        assert go_on.wait(5)
        return Part(name="slow")

    def ask() -> None:
        try:
            registry["slow"]
        except ComponentUnavailable as error:
            caught.append(error)

    hooks["slow"] = slow
    spec = {"BACKEND": MAKE, "OPTIONS": {"name": "slow"}, "CLOSE": "close"}
    registry.register("slow", spec)
    thread = threading.Thread(target=ask)
    thread.start()
    assert began.wait(5)
    registry.close()
    go_on.set()
    thread.join(5)
    assert closed == ["slow"]
    assert [error.state for error in caught] == ["closed"]


def test_a_replaced_one_is_closed_with_what_requires_it(registry):
    chain(registry)
    registry["c"], registry["d"]
    registry.register("b", {"BACKEND": PART})
    assert closed == ["c", "b"]
    assert [registry.status(name).state for name in "abcd"] == [
        "ready",
        "not-loaded",
        "not-loaded",
        "ready",
    ]


# ── the ends of a process ───────────────────────────────────────────────────────────────────────

PROGRAM = """
import os, sys, threading, time
from resilience.components import components
class Thing:
    def __init__(self, name):
        self.name = name
    def close(self):
        if self.name == "hangs":
            time.sleep(60)
        os.write(1, f"{self.name} closed\\n".encode())
def declare(*names):
    for name in names:
        components.register(name, {"BACKEND": "__main__.Thing", "OPTIONS": {"name": name},
            "REQUIRES": [before for before in names if before < name and before != "hangs"],
            "CLOSE": "close"})
"""


def program(body: str) -> Ended:
    code = PROGRAM + textwrap.dedent(body)
    return run(sys.executable, "-c", code, cwd=ROOT, variables={}, limit=20)


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise ValueError", 1), ("signal.raise_signal(2)", 130)],
)
def test_at_exit(end, code):
    ended = program(f"""
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has none
        declare("a", "b")
        components["b"]
        try:
            {end or "pass"}
        except KeyboardInterrupt:
            sys.exit(130)
    """)
    assert ended.out.splitlines() == ["b closed", "a closed"], ended.err
    assert ended.code == code


def test_at_exit__twin__a_process_that_is_ended_at_once_closes_nothing():
    assert program('declare("a"); components["a"]; os._exit(0)').out == ""


def test_a_process_that_used_none_of_them_has_nothing_to_do():
    assert program('declare("a")').out == ""


def test_at_exit_one_that_hangs_holds_nobody_up():
    ended = program("""
        from resilience.components import closing
        closing.CLOSE_ONE = 0.3
        declare("a", "b")
        declare_hanging = components.register("hangs", {"BACKEND": "__main__.Thing",
            "OPTIONS": {"name": "hangs"}, "REQUIRES": ["b"], "CLOSE": "close"})
        components["hangs"]
    """)
    assert ended.out.splitlines() == ["b closed", "a closed"], ended.err
    assert "component hangs was not closed" in ended.err
    assert ended.seconds < 5


def test_a_forked_worker_closes_what_it_built_and_not_what_its_parent_did():
    ended = program("""
        declare("a", "b")
        components["a"]
        if os.fork() == 0:
            components["b"]
            os.write(1, b"child\\n")
            sys.exit(0)
        os.wait()
        os.write(1, b"parent\\n")
    """)
    assert ended.out.splitlines() == ["child", "b closed", "a closed", "parent", "a closed"]


WORKER = """
import atexit, os
from celery import Celery
from resilience.components import components

app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control",
    "polling_interval": 0.05,
}
app.conf.worker_hijack_root_logger = False

class Thing:
    def close(self):
        with open("closed", "a") as file:
            file.write(f"{os.getpid()} ")

components.register("thing", {"BACKEND": "shop.Thing", "CLOSE": "close"})

@app.task
def use():
    components["thing"]
    pid = os.getpid()
    atexit.register(lambda: open(f"atexit-{pid}", "w").close() if os.getpid() == pid else None)
    with open("used", "w") as file:
        file.write(str(os.getpid()))
"""


def test_a_celery_worker_that_stops(tmp_path):
    """A real worker: its children end without ``atexit``, so Celery's own signal has to do."""
    (tmp_path / "shop.py").write_text(WORKER)
    for folder in ("queue", "control"):
        (tmp_path / folder).mkdir()
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    options = ["--pool", "prefork", "--concurrency", "1", "--without-gossip", "--without-mingle"]
    celery = [sys.executable, "-m", "celery", "-A", "shop", "worker", "--without-heartbeat"]
    send = "import shop; shop.use.delay()"
    subprocess.run([sys.executable, "-c", send], cwd=tmp_path, env=variables, check=True)
    with worker(*celery, *options, cwd=tmp_path, env=variables) as process:
        used = tmp_path / "used"
        assert until(lambda: used.exists() and used.read_text(), 20), (tmp_path / "log").read_text()
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    used_in = (tmp_path / "used").read_text()
    assert used_in != str(process.pid)
    assert (tmp_path / "closed").read_text().split() == [used_in]
    assert not (tmp_path / f"atexit-{used_in}").exists()


@contextlib.contextmanager
def worker(*command: str, cwd: Path, env: dict[str, str]) -> Any:
    with (cwd / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=log, stderr=log)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
