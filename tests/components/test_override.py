"""What a test puts in the place of a component is there inside, and nowhere else."""

from __future__ import annotations

import asyncio
import unittest

import pytest

from resilience.components import components, override_component
from resilience.errors import ComponentUnavailable
from tests.components.parts import PART, closed, made


@pytest.fixture(autouse=True)
def declared() -> None:
    components.register("a", {"BACKEND": PART, "OPTIONS": {"name": "a"}, "CLOSE": "close"})
    requires = {"BACKEND": PART, "OPTIONS": {"name": "b"}, "REQUIRES": ["a"], "CLOSE": "close"}
    components.register("b", requires)


def test_inside_and_outside():
    ours = components["a"]
    with override_component("a", "fake") as given:
        assert given == "fake"
        assert components["a"] == "fake"
        assert asyncio.run(components.aget("a")) == "fake"
        assert components.status("a").state == "ready"
        assert "test" in components.status("a").why
    assert components["a"] is ours
    assert closed == []


def test_what_was_not_built_stays_so():
    with override_component("a", "fake"):
        assert components["a"] == "fake"
    assert components.status("a").state == "not-loaded"
    assert made == []


def test_a_blocked_one_becomes_usable_and_so_does_what_requires_it():
    components.register("c", {"BACKEND": PART, "PACKAGES": ["no-such-package"]})
    components.register("d", {"BACKEND": PART, "REQUIRES": ["c"]})
    with override_component("c", "fake"):
        assert components["d"] is made[0]
    assert components.status("d").state == "blocked"


def test_what_requires_it_is_built_anew_inside_and_comes_back_after():
    outside = components["b"]
    with override_component("a", "fake"):
        inside = components["b"]
        assert inside is not outside
    assert closed == ["b"], "what was built inside"
    assert components["b"] is outside


def test_after_an_error_too():
    with pytest.raises(ValueError, match="x"), override_component("a", "fake"):
        raise ValueError("x")
    assert components["a"] is made[0]


def test_nested():
    with override_component("a", 1):
        with override_component("a", 2):
            assert components["a"] == 2
        assert components["a"] == 1
        with override_component("b", 3):
            assert (components["a"], components["b"]) == (1, 3)
    assert components.status("a").state == "not-loaded"


def test_nothing_is_as_good_as_something():
    with override_component("a", None):
        assert components["a"] is None


def test_as_a_decorator():
    @override_component("a", "fake")
    def ask(word: str, *, times: int) -> str:
        return str(components["a"]) + word * times

    assert ask("x", times=2) == "fakexx"
    assert ask("y", times=1) == "fakey"
    assert ask.__name__ == "ask"
    assert components.status("a").state == "not-loaded"


def test_as_a_decorator_of_a_coroutine_function():
    @override_component("a", "fake")
    async def ask() -> object:
        await asyncio.sleep(0)
        return await components.aget("a")

    assert asyncio.run(ask()) == "fake"
    assert components.status("a").state == "not-loaded"


def test_a_class_is_refused_with_what_to_do():
    with pytest.raises(TypeError, match="enterContext"):
        override_component("a", "fake")(unittest.TestCase)


def test_in_a_test_case():
    class Case(unittest.TestCase):
        def setUp(self) -> None:
            self.enterContext(override_component("a", "fake"))

        def test(self) -> None:
            assert components["a"] == "fake"

    result = Case("test").run()
    assert result is not None
    assert result.wasSuccessful()
    assert components.status("a").state == "not-loaded"


def test_a_name_that_nothing_declares():
    with pytest.raises(ComponentUnavailable, match="Did you mean"):
        override_component("aa", 1).__enter__()


def test_a_declaration_that_changes_inside_holds_afterwards():
    components["a"]
    with override_component("a", "fake"):
        components.register("a", {"BACKEND": PART, "OPTIONS": {"name": "new"}})
        assert components["a"].options == {"name": "new"}
    assert components["a"].options == {"name": "new"}
