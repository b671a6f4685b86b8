"""A signal that ends the process ends it during a build as well, and leaves nothing stuck."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from resilience.components import interrupts
from resilience.components.discovery import discover
from resilience.components.registry import Registry
from resilience.errors import ComponentUnavailable
from tests.components.parts import MAKE, PART, Part, hooks
from tests.processes import ROOT, run


@pytest.fixture
def registry() -> Registry:
    found = Registry(patience=0.05)
    hooks["x"] = Part
    found.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x"}})
    return found


class Leaving:
    """The ways in which programs write a handler."""

    def method(self, *_: object) -> None:
        sys.exit(7)

    def resetting(self, number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        sys.exit(7)

    def __call__(self, *_: object) -> None:
        sys.exit(7)


def function(*_: object) -> None:
    sys.exit(7)


@pytest.fixture
def install() -> Iterator[Callable[[Any], object]]:
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR1, before)


HANDLERS = [
    function,
    Leaving().method,
    Leaving().resetting,
    Leaving(),
    functools.partial(functools.partial(function, 1), 2),
]


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_handler_that_exits_is_obeyed_and_the_build_can_be_tried_again(
    registry, install, handler
):
    install(handler)
    registry.register("b", {"BACKEND": PART, "REQUIRES": ["a"]})
    hooks["x"] = lambda: signal.raise_signal(signal.SIGUSR1)
    with pytest.raises(SystemExit) as caught:
        registry["b"]
    assert caught.value.code == 7
    assert [registry.status(name).state for name in "ab"] == ["not-loaded"] * 2
    hooks["x"] = Part
    assert registry["b"]


def test_a_handler__twin__a_package_that_exits_by_itself_has_failed(registry, install):
    install(Leaving().method)
    hooks["x"] = lambda: sys.exit(7)
    with pytest.raises(ComponentUnavailable, match="SystemExit: 7"):
        registry["a"]
    assert registry.status("a").state == "failed"


def test_a_package_that_calls_the_handler_in_another_thread_ends_nothing(registry, install):
    install(function)
    hooks["x"] = function
    with pytest.raises(ComponentUnavailable, match="SystemExit: 7"):
        asyncio.run(registry.aget("a"))
    assert not interrupts.ends_the_process(ValueError())


@pytest.mark.parametrize("name", ["SIGTERM", "SIGABRT"])
@pytest.mark.parametrize(("own", "code"), [(False, 7), (True, 0)])
def test_a_process(name, own, code):
    """As a server stops its worker; the other half is the twin, in which nobody sent a signal."""
    program = f"""if True:
        import signal, sys
        from resilience.components import components
        from resilience.errors import ComponentUnavailable
        signal.signal(signal.{name}, lambda *_: sys.exit(7))
        def make():
            sys.exit(7) if {own} else signal.raise_signal(signal.{name})
        components.register("a", {{"BACKEND": "__main__.make"}})
        try:
            components["a"]
        except ComponentUnavailable as error:
            print(error)
    """
    ended = run(sys.executable, "-c", program, cwd=ROOT, variables={}, limit=20)
    assert ended.code == code, ended.err
    assert ("is failed: SystemExit: 7" in ended.out) is own


def test_while_the_files_of_apps_are_read(tmp_path, monkeypatch, install):
    install(function)
    (tmp_path / "shop_signalled").mkdir()
    (tmp_path / "shop_signalled" / "__init__.py").touch()
    text = "import signal; signal.raise_signal(signal.SIGUSR1)"
    (tmp_path / "shop_signalled" / "components.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit):
        discover([__import__("shop_signalled")])


# ── nothing is left in the air ──────────────────────────────────────────────────────────────────


FILES = tuple(f"resilience/components/{name}.py" for name in ("registry", "waits", "cell"))


class Interrupt:
    """Raises KeyboardInterrupt at the given line of the registry's code, counted as it runs."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.endswith(FILES):
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt
        return self


def stuck(registry_of: Callable[[], Registry]) -> tuple[int, int]:
    """How many lines an interrupt was raised at, and after how many the component was lost."""
    # Raising in a trace function leaves the thread's own record of exceptions behind in disorder.
    with ThreadPoolExecutor(1) as pool:
        found = [pool.submit(interrupted, registry_of(), line).result(5) for line in range(1, 500)]
    lost = found[: found.index(None)]
    return len(lost), lost.count(True)


def interrupted(registry: Registry, line: int) -> bool | None:
    """Whether the component is lost after an interrupt there; None if that line is never run."""
    sys.settrace(Interrupt(line))
    try:
        registry["a"]
    except KeyboardInterrupt:
        pass
    else:
        return None
    finally:
        sys.settrace(None)
    try:
        registry["a"]
    except ComponentUnavailable:
        return True
    return False


def declared(kind: type[Registry]) -> Registry:
    registry = kind(patience=0.001)
    registry.register("a", {"BACKEND": PART, "REQUIRES": ["b"]})
    registry.register("b", {"BACKEND": PART})
    return registry


def test_an_interrupt_at_any_line_leaves_nothing_loading():
    lines, lost = stuck(lambda: declared(Registry))
    assert lines > 50
    assert lost == 0


def test_an_interrupt_at_any_line__twin__without_landing():
    class Careless(Registry):
        def _leave(self, seat: Any) -> None:
            pass

    assert stuck(lambda: declared(Careless))[1] > 0


def test_a_coroutine_without_a_loop_leaves_nothing_loading(registry):
    caught: list[BaseException] = []

    def ask() -> None:
        asked = registry.aget("a")
        try:
            asked.send(None)
        except RuntimeError as error:
            caught.append(error)
        finally:
            asked.close()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(5)
    assert "no running event loop" in str(caught[0])
    assert registry.status("a").state == "not-loaded"
    assert asyncio.run(registry.aget("a")) is registry["a"]


def test_a_thread_that_was_given_up_before_it_began_builds_nothing(registry, monkeypatch):
    """The interrupt came while it was started: who asks next builds, once."""
    threads: list[threading.Thread] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        threads.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    asked = registry.aget("a")

    async def ask() -> None:
        with pytest.raises(KeyboardInterrupt):
            await asked

    asyncio.run(ask())
    monkeypatch.undo()
    made = registry["a"]
    start(threads[0])
    threads[0].join(5)
    assert registry["a"] is made


def test_a_worker_with_a_copy_of_the_context_may_wait_for_what_is_being_built(registry):
    """Nobody waits for it, so that this is no circle."""
    import contextvars

    registry = Registry()
    found: list[object] = []
    asking = threading.Event()

    def ask() -> None:
        asking.set()
        try:
            found.append(registry["a"])
        except ComponentUnavailable as error:
            found.append(error)

    def build() -> Part:
        worker = threading.Thread(target=contextvars.copy_context().run, args=(ask,))
        hooks["join"] = worker.join
        worker.start()
        assert asking.wait(5)
        worker.join(0.05)  # in which it would have got an error
        return Part()

    hooks["x"] = build
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x"}})
    made = registry["a"]
    hooks["join"](5)
    assert found == [made]


def test_a_worker__twin__who_builds_would_wait_for_itself(registry):
    hooks["x"] = lambda: registry["a"]
    with pytest.raises(ComponentUnavailable, match="a → a"):
        registry["a"]
