"""What a component says of itself, when it is built, and when it is tried again."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resilience import env, redact
from resilience.components.registry import Registry
from resilience.components.spec import read
from resilience.errors import ComponentUnavailable
from tests.clock import Clock
from tests.components.parts import MAKE, PART, Part, hooks, made

KEY = "SHOP_LLM_KEY"
OTHER = "SHOP_OTHER_KEY"
CANARY = "canary-7f3a9c51d2"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> Registry:
    return Registry(clock)


def refusal(registry: Registry, name: str) -> ComponentUnavailable:
    with pytest.raises(ComponentUnavailable) as caught:
        registry[name]
    return caught.value


def fails(*errors: BaseException) -> Any:
    """A hook that raises these, one after the other, and builds afterwards."""
    left = list(errors)

    def build(**options: Any) -> Part:
        if left:
            raise left.pop(0)
        return Part(**options)

    return build


# ── built on first use ──────────────────────────────────────────────────────────────────────────


def test_the_real_object_once(registry):
    registry.register("a", {"BACKEND": PART, "OPTIONS": {"size": 3}})
    assert registry.status("a").state == "not-loaded"
    assert made == []
    first = registry["a"]
    assert isinstance(first, Part)
    assert first.options == {"size": 3}
    assert registry["a"] is first
    assert made == [first]
    assert registry.status("a").state == "ready"


def test_asking_for_a_status_builds_and_imports_nothing(registry):
    registry.register("a", {"BACKEND": "no_such_module.Thing"})
    registry.register("b", {"BACKEND": "colorsys.rgb_to_hls"})
    sys.modules.pop("colorsys", None)
    assert [registry.status(name).state for name in registry] == ["blocked", "not-loaded"]
    assert "colorsys" not in sys.modules


def test_names_without_building(registry):
    registry.register("a", {"BACKEND": PART})
    registry.register("b", {"BACKEND": PART})
    assert (list(registry), len(registry)) == (["a", "b"], 2)
    assert "a" in registry
    assert "c" not in registry
    assert made == []


def test_options_are_resolved_when_it_is_built_at_any_depth(registry, monkeypatch):
    options = {"a": env.ref(KEY), "b": [{"c": (env.ref(KEY), 1)}], "d": {"e": {env.ref(KEY)}}}
    registry.register("a", {"BACKEND": PART, "OPTIONS": options})
    monkeypatch.setenv(KEY, CANARY)
    expected = {"a": CANARY, "b": [{"c": (CANARY, 1)}], "d": {"e": {CANARY}}}
    assert registry["a"].options == expected
    assert options["a"] == env.ref(KEY), "what was declared is not touched"


def test_requirements_are_built_first(registry):
    for name, requires in (("c", ["b", "a"]), ("b", ["a"]), ("a", [])):
        spec = {"BACKEND": PART, "OPTIONS": {"name": name}, "REQUIRES": requires}
        registry.register(name, spec)
    registry["c"]
    assert [part.options["name"] for part in made] == ["a", "b", "c"]


# ── blocked ─────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_variable_is_named_with_its_place_and_the_fix(registry, monkeypatch):
    declared = env.ref(KEY)
    registry.register("llm.chat", {"BACKEND": PART, "OPTIONS": {"key": declared}})
    text = str(refusal(registry, "llm.chat"))
    assert text.startswith(
        f"Component 'llm.chat' is blocked: {KEY} is not set (declared in {declared.location}). "
        f"Set {KEY} in the environment"
    )
    assert "test_registry.py:" in text
    assert made == []
    monkeypatch.setenv(KEY, CANARY)  # no restart, no reset
    assert registry.status("llm.chat").state == "not-loaded"
    assert registry["llm.chat"].options["key"] == CANARY


def test_everything_that_is_missing_is_said_at_once(registry):
    options = {"one": env.ref(KEY), "more": [env.ref(OTHER), env.ref(KEY)]}
    packages = ["no-such-package>=1", "django>=99", "pytest"]
    spec = {"BACKEND": PART, "OPTIONS": options, "PACKAGES": packages, "REQUIRES": ["b"]}
    registry.register("a", spec)
    registry.register("b", {"BACKEND": PART, "PACKAGES": ["another-missing"]})
    status = registry.status("a")
    assert [need.name for need in status.missing] == [KEY, OTHER, *packages[:2], "b"]
    for part in (KEY, OTHER, "no-such-package is not", ">=99 is needed", "b is blocked"):
        assert part in status.why
    assert "pip install 'no-such-package>=1'" in status.fix
    assert status.cause == ""


@pytest.mark.parametrize(
    ("package", "found"),
    [
        ("django>=5", True),
        ("Django", True),
        ("django<5,>=4", False),
        ("django~=1.0", False),
        ("django!=0.1", True),
        ("no-such-package", False),
        ("no-such-package; python_version < '3'", True),
    ],
)
def test_packages_are_judged_by_their_metadata(registry, package, found):
    registry.register("a", {"BACKEND": PART, "PACKAGES": [package]})
    status = registry.status("a")
    assert status.state == ("not-loaded" if found else "blocked")
    assert bool(status.needs[0].found) is found


@pytest.mark.parametrize(
    ("installed", "wanted", "enough"),
    [
        ("2.0rc1", ">=1", True),
        ("2.0rc1", ">=2", False),
        ("1.10", ">=1.9", True),
        ("1.9", ">=1.10", False),
        ("2.0", "~=1.4", False),
    ],
)
def test_versions_are_compared_as_pip_does(
    registry, tmp_path, monkeypatch, installed, wanted, enough
):
    folder = tmp_path / f"shop_sdk-{installed}.dist-info"
    folder.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: shop-sdk\nVersion: {installed}\n"
    (folder / "METADATA").write_text(metadata)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.register("a", {"BACKEND": PART, "PACKAGES": [f"shop-sdk{wanted}"]})
    status = registry.status("a")
    assert status.state == ("not-loaded" if enough else "blocked")
    assert installed in (status.needs[0].found if enough else status.why)


def test_a_backend_that_is_not_installed(registry):
    registry.register("a", {"BACKEND": "no_such_module.Thing"})
    assert "the module no_such_module of its BACKEND is not installed" in str(
        refusal(registry, "a")
    )


def test_a_chain_names_its_first_blocked_member(registry, monkeypatch):
    registry.register("gather", {"BACKEND": PART})
    reason = {"BACKEND": PART, "OPTIONS": {"key": env.ref(KEY)}, "REQUIRES": ["gather"]}
    registry.register("reason", reason)
    registry.register("evaluate", {"BACKEND": PART, "REQUIRES": ["reason"]})
    registry.register("learn", {**reason, "REQUIRES": ["evaluate"]})
    assert [registry.status(name).cause for name in registry] == ["", "", "reason", "reason"]
    text = str(refusal(registry, "learn"))
    assert "evaluate waits for reason, which is blocked: " + KEY in text
    assert text.count(KEY + " is not set") == 1
    assert made == [], "nothing of a chain that cannot be finished is begun"
    monkeypatch.setenv(KEY, CANARY)
    assert registry["learn"].options["key"] == CANARY
    assert len(made) == 4


def test_a_gap_of_its_own_is_not_explained_by_the_chain(registry):
    registry.register("a", {"BACKEND": PART, "OPTIONS": {"key": env.ref(KEY)}})
    spec = {"BACKEND": PART, "OPTIONS": {"key": env.ref(OTHER)}, "REQUIRES": ["a"]}
    registry.register("b", spec)
    status = registry.status("b")
    assert status.cause == ""
    assert KEY in status.why
    assert OTHER in status.why


def test_a_wrong_declaration_blocks_its_component_alone(registry):
    registry.register("a", {"BACKED": PART})
    registry.register("b", {"BACKEND": PART})
    text = str(refusal(registry, "a"))
    assert "its declaration has an unknown key 'BACKED'" in text
    assert "Did you mean 'BACKEND'?" in text
    assert registry["b"]


def test_an_unknown_name(registry):
    assert "django.setup()" in str(refusal(registry, "llm.chat"))
    registry.register("llm.chat", {"BACKEND": PART})
    error = refusal(registry, "llm.chta")
    assert error.state == "unknown"
    assert "Did you mean 'llm.chat'?" in str(error)
    with pytest.raises(ComponentUnavailable, match="nothing declares it"):
        registry.status("xyz")


@pytest.mark.parametrize("name", [None, 5, ("a", 1), b"a"])
def test_a_name_that_is_no_text(registry, name):
    registry.register("a", {"BACKEND": PART})
    error = refusal(registry, name)
    assert error.state == "unknown"
    assert f"a name is a text, and this is of the type {type(name).__name__}" in str(error)
    with pytest.raises(ComponentUnavailable):
        registry.status(name)
    with pytest.raises(ComponentUnavailable):
        asyncio.run(registry.aget(name))


@pytest.mark.parametrize("name", [None, 5, "", "A=B", "A\0B", ["A"], "\ud800"])
def test_a_reference_to_what_is_no_variable_blocks(registry, name):
    registry.register("a", {"BACKEND": PART, "OPTIONS": {"x": env.Ref(name)}})
    status = registry.status("a")
    assert status.state == "blocked"
    assert status.missing
    refusal(registry, "a")


def test_a_requirement_that_nothing_declares(registry):
    registry.register("llm.chat", {"BACKEND": PART})
    registry.register("a", {"BACKEND": PART, "REQUIRES": ["llm.cat"]})
    text = str(refusal(registry, "a"))
    assert "it requires llm.cat, which nothing declares" in text
    assert "Did you mean 'llm.chat'?" in text


# ── long chains ─────────────────────────────────────────────────────────────────────────────────


def long_chain(registry: Registry, length: int, **first: Any) -> str:
    """Declares a chain, the last of which is returned and requires all others."""
    for number in range(length):
        requires = [f"c{number - 1}"] if number else []
        own = {} if number else first
        registry.register(f"c{number}", {"BACKEND": PART, "REQUIRES": requires, **own})
    return f"c{length - 1}"


def test_a_long_chain_is_judged_and_built(registry):
    last = long_chain(registry, 1000)
    assert registry.status(last).state == "not-loaded"
    assert registry[last] is made[-1]
    assert len(made) == 1000
    assert registry.status(last).state == "ready"
    registry.close()
    assert registry.status(last).state == "closed"


def test_a_long_chain__twin__whose_beginning_is_blocked(registry):
    last = long_chain(registry, 1000, OPTIONS={"key": env.ref(KEY)})
    status = registry.status(last)
    assert (status.state, status.cause) == ("blocked", "c0")
    assert f"{KEY} is not set" in str(refusal(registry, last))
    assert made == []


def test_a_long_circle(registry):
    last = long_chain(registry, 300, REQUIRES=["c299"])
    assert len(registry.status(last).cycle) == 301
    assert "it requires itself" in str(refusal(registry, last))


# ── circles ─────────────────────────────────────────────────────────────────────────────────────


def test_a_declared_circle_is_named(registry):
    for name, requires in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a"), ("e", "e")):
        registry.register(name, {"BACKEND": PART, "REQUIRES": [requires]})
    assert "it requires itself: a → b → c → a" in str(refusal(registry, "a"))
    assert registry.status("c").cycle == ("c", "a", "b", "c")
    assert registry.status("e").cycle == ("e", "e")
    outside = registry.status("d")
    assert (outside.state, outside.cause, outside.cycle) == ("blocked", "a", ())
    assert made == []


def test_a_declared_circle__twin(registry):
    for name, requires in (("a", ["b"]), ("b", ["c"]), ("c", []), ("d", ["a", "c"])):
        registry.register(name, {"BACKEND": PART, "REQUIRES": requires})
    assert registry["d"]
    assert len(made) == 4


def test_components_that_ask_for_each_other_while_they_are_built(registry):
    hooks["a"] = lambda: registry["b"]
    hooks["b"] = lambda: registry["a"]
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "a"}})
    registry.register("b", {"BACKEND": MAKE, "OPTIONS": {"name": "b"}})
    assert "it waits for itself: b → a → b" in str(refusal(registry, "a"))
    assert registry.status("a").state == registry.status("b").state == "failed"


def test_the_same_from_two_threads_at_once(registry):
    """Each holds what the other one wants: with locks they would stand still for ever."""
    both = threading.Barrier(2)

    def half(other: str) -> Any:
        def build() -> Any:
            both.wait(5)
            return registry[other]

        return build

    hooks["a"], hooks["b"] = half("b"), half("a")
    for name in "ab":
        registry.register(name, {"BACKEND": MAKE, "OPTIONS": {"name": name}})
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(refusal, registry, name) for name in "ab"]
        texts = [str(each.result(5)) for each in asked]
    assert any("it waits for itself" in text for text in texts)


def test_one_component_may_ask_for_another_while_it_is_built(registry):
    hooks["a"] = lambda: (registry["b"], "a")
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "a"}})
    registry.register("b", {"BACKEND": PART})
    assert registry["a"] == (registry["b"], "a")


# ── failed ──────────────────────────────────────────────────────────────────────────────────────


def test_a_failure_is_kept_and_tried_again_later(registry, clock):
    hooks["x"] = fails(ValueError("first"), TypeError("second"), OSError("third"))
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x"}})
    pauses = []
    for attempt, word in enumerate(("first", "second", "third"), 1):
        assert word in str(refusal(registry, "a"))
        status = registry.status("a")
        assert (status.state, status.attempts) == ("failed", attempt)
        assert "ValueError: first" in status.traceback, "the first one has the reason"
        assert status.retry_at is not None
        pauses.append(status.retry_at - clock.now)
        clock.now = status.retry_at - 0.01
        assert word in str(refusal(registry, "a"))
        assert registry.status("a").attempts == attempt, "not tried before its time"
        clock.now = status.retry_at
    assert pauses == [1, 2, 4]
    assert registry["a"] is made[0]
    assert registry.status("a").traceback == ""


def test_the_pause_ends_at_a_minute(registry, clock):
    hooks["x"] = fails(*(ValueError() for _ in range(40)))
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x"}})
    for _ in range(40):
        refusal(registry, "a")
        retry_at = registry.status("a").retry_at
        assert retry_at is not None
        assert retry_at - clock.now <= 60
        clock.now = retry_at
    assert registry["a"]


def test_what_requires_a_failed_one_is_blocked_by_it_and_tries_it_again(registry, clock):
    hooks["x"] = fails(ValueError("first"))
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x"}})
    registry.register("b", {"BACKEND": PART, "REQUIRES": ["a"]})
    assert "a is failed: ValueError: first" in str(refusal(registry, "b"))
    status = registry.status("b")
    assert (status.state, status.cause, status.attempts) == ("blocked", "a", 0)
    refusal(registry, "b")
    assert registry.status("a").attempts == 1
    clock.now += 1
    assert registry["b"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"BACKEND": "tests.components.parts.Prat"}, "has no Prat. Did you mean 'Part'?"),
        ({"BACKEND": "no_such_at_all.Part"}, "module no_such_at_all of its BACKEND"),
        ({"BACKEND": "tests.components.prats.Part"}, "has no prats. Did you mean 'parts'?"),
        ({"BACKEND": PART + ".amke"}, "parts.Part has no amke."),
        ({"BACKEND": PART + ".close.again.Part"}, "parts.Part.close has no again."),
        ({"BACKEND": "tests.components.parts.aprobe", "OPTIONS": {"made": 1}}, "async function"),
        ({"BACKEND": "os.getcwd", "OPTIONS": {"x": 1}}, "TypeError"),
        ({"BACKEND": "tests.components.parts.forget"}, "forget returned None, which is no object"),
    ],
)
def test_what_cannot_be_built_says_why(registry, spec, said):
    registry.register("a", spec)
    assert said in str(refusal(registry, "a"))


def test_a_backend_may_be_a_method_of_a_class(registry):
    url = {"url": "redis://127.0.0.1:1/3"}
    registry.register("a", {"BACKEND": "redis.Redis.from_url", "OPTIONS": url})
    assert registry["a"].get_connection_kwargs()["db"] == 3


def test_a_backend__twin__what_its_module_cannot_import_is_named(registry, tmp_path, monkeypatch):
    """The module is there: what is missing is further in, and no class to look for."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop_half.py").write_text("import shop_absent.part\n")
    registry.register("a", {"BACKEND": "shop_half.Shop.make"})
    assert "No module named 'shop_absent'" in str(refusal(registry, "a"))


def test_the_kept_traceback_is_a_line_for_each_place_that_is_not_ours(
    registry, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop_bad.py").write_text("def deep():\n    1 / 0\n\n\ndeep()\n")
    registry.register("a", {"BACKEND": "shop_bad.Shop"})
    refusal(registry, "a")
    assert registry.status("a").traceback.splitlines() == [
        "ZeroDivisionError: division by zero",
        f"  {tmp_path}/shop_bad.py:2 in deep",
        f"  {tmp_path}/shop_bad.py:5 in <module>",
    ]


def test_the_kept_traceback__twin__packages_are_named_without_their_folder(registry):
    registry.register("a", {"BACKEND": "redis.Redis.from_url", "OPTIONS": {"url": "nope"}})
    refusal(registry, "a")
    said, *way = registry.status("a").traceback.splitlines()
    assert said.startswith("ValueError: Redis URL")
    assert len(way) >= 2
    for line in way:
        assert re.fullmatch(r"  redis/\w+\.py:\d+ in \w+", line)


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
def test_a_package_that_ends_the_process_or_the_task_does_not(registry, error):
    hooks["x"] = fails(error)
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x"}})
    assert type(error).__name__ in str(refusal(registry, "a"))


def test_options_that_cannot_be_looked_through_any_more(registry, clock):
    class Moody(dict[str, object]):
        def values(self) -> Any:
            if moody:
                raise RuntimeError("moody")
            return super().values()

    moody: list[bool] = []
    registry.register("a", {"BACKEND": PART, "OPTIONS": {"x": Moody(y=1)}})
    moody.append(True)
    assert "RuntimeError: moody" in str(refusal(registry, "a"))
    with pytest.raises(ComponentUnavailable, match="RuntimeError: moody"):
        asyncio.run(registry.aget("a"))
    moody.clear()
    clock.now += 60
    assert registry["a"].options == {"x": {"y": 1}}


def test_an_interrupt_is_no_failure_and_releases_who_waits(registry):
    began, go_on = threading.Event(), threading.Event()

    def interrupted() -> Any:
        if began.is_set():
            return "built by the one that waited"
        began.set()
        assert go_on.wait(5)
        raise KeyboardInterrupt

    hooks["x"] = interrupted
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x"}})
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: registry["a"])
        assert began.wait(5)
        second = pool.submit(lambda: registry["a"])
        assert registry.status("a").state == "loading"
        go_on.set()
        assert isinstance(first.exception(5), KeyboardInterrupt)
        assert second.result(5) == "built by the one that waited"


def test_nobody_waits_for_ever():
    registry = Registry(patience=0.05)
    go_on = threading.Event()
    hooks["x"] = lambda: go_on.wait(5)
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x"}})
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: registry["a"])
        while registry.status("a").state != "loading":
            threading.Event().wait(0.001)
        error = refusal(registry, "a")
        go_on.set()
        assert first.result(5) is True
    assert error.state == "loading"
    assert "ThreadPoolExecutor" in error.problem, "which thread it is"
    assert registry["a"] is True


# ── nothing leaks ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def leaky(registry: Registry, monkeypatch) -> Registry:
    """A component whose package quotes its key in every way it can."""

    def build(key: str, **_: Any) -> Any:
        try:
            int(key)
        except ValueError as error:
            raise RuntimeError(f"bad key {key!r} in url https://u:{key}@h/") from error

    hooks["leaky"] = build
    monkeypatch.setenv(KEY, CANARY)
    options = {"name": "leaky", "key": env.ref(KEY)}
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": options})
    return registry


def test_no_value_is_in_errors_states_logs_or_tracebacks(leaky, caplog):
    caplog.set_level(logging.DEBUG)
    error = refusal(leaky, "a")
    status = leaky.status("a")
    shown = [str(error), repr(error), repr(status), str(status), caplog.text, status.traceback]
    assert "RuntimeError" in status.traceback
    assert "because of ValueError" in status.traceback
    assert "parts.py" in status.traceback
    shown += traceback.format_exception(error)
    assert CANARY not in "".join(shown)
    assert (error.__cause__, error.__context__) == (None, None)


def test_no_frame_of_an_error_holds_a_value(leaky):
    """A debug page shows the variables of every frame."""
    error = refusal(leaky, "a")
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert CANARY not in repr(frames)


def test_no_value__twin__the_package_did_quote_it(leaky):
    with pytest.raises(RuntimeError, match=CANARY):
        hooks["leaky"](key=os.environ[KEY])


def test_the_log_hears_of_a_reason_once(registry, caplog, monkeypatch):
    registry.register("a", {"BACKEND": PART, "OPTIONS": {"a": env.ref(KEY), "b": env.ref(OTHER)}})
    for _ in range(3):
        refusal(registry, "a")
    assert len(caplog.records) == 1
    monkeypatch.setenv(KEY, CANARY)
    for _ in range(3):
        refusal(registry, "a")
    assert len(caplog.records) == 2
    assert OTHER in caplog.records[1].getMessage()


def test_a_secret_in_the_options_is_masked_from_its_declaration_on(registry):
    options = {"password": CANARY, "deep": [{"api_key": f"{CANARY}-2"}], "host": "plain-host"}
    hooks["x"] = fails(ValueError(f"refused {CANARY}, {CANARY}-2 at plain-host"))
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x", **options}})
    registry.declare("settings", {"b": read("b", {"BACKEND": PART, "OPTIONS": {"token": KEY}}, "")})
    assert "refused ***, *** at plain-host" in str(refusal(registry, "a"))
    assert redact.text(f"x {KEY} x") == "x *** x"
    assert CANARY not in repr(registry.specs())


def test_a_secret_in_the_options__twin__what_is_not_named_as_one_is_told(registry):
    hooks["x"] = fails(ValueError(f"refused {CANARY}"))
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x", "host": CANARY}})
    assert f"refused {CANARY}" in str(refusal(registry, "a"))


# ── declared anew ───────────────────────────────────────────────────────────────────────────────


def test_the_same_declaration_again_changes_nothing(registry):
    registry.register("a", {"BACKEND": PART, "OPTIONS": {"x": [1]}})
    first = registry["a"]
    registry.register("a", {"BACKEND": PART, "OPTIONS": {"x": [1]}})
    assert registry["a"] is first


def test_another_declaration_is_built_anew_with_what_requires_it(registry):
    for name, requires in (("a", []), ("b", ["a"]), ("c", [])):
        registry.register(name, {"BACKEND": PART, "REQUIRES": requires})
    before = {name: registry[name] for name in registry}
    registry.register("a", {"BACKEND": PART, "OPTIONS": {"x": 2}})
    assert [registry.status(name).state for name in "abc"] == ["not-loaded", "not-loaded", "ready"]
    assert registry["b"] is not before["b"]
    assert registry["a"].options == {"x": 2}
    assert registry["c"] is before["c"]


def test_a_declaration_that_changes_during_the_build(registry):
    began, go_on = threading.Event(), threading.Event()

    def slow(**options: Any) -> Part:
        began.set()
        assert go_on.wait(5)
        return Part(**options)

    hooks["x"] = slow
    registry.register("a", {"BACKEND": MAKE, "OPTIONS": {"name": "x", "old": True}})
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: registry["a"])
        assert began.wait(5)
        registry.register("a", {"BACKEND": PART, "OPTIONS": {"new": True}})
        go_on.set()
        assert asked.result(5).options == {"new": True}
    assert registry["a"].options == {"new": True}
