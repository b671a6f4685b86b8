"""A declaration is read as it is meant, or says what is wrong with it and what to write instead."""

from __future__ import annotations

import pytest

from resilience import env
from resilience.components.declarations import Declarations, dependents, same
from resilience.components.spec import KEYS, Spec, read, read_all, refs
from resilience.errors import UsageError

GOOD = {
    "BACKEND": "shop.llm.Chat",
    "OPTIONS": {"model": "small"},
    "PACKAGES": ["langchain-openai>=1", "pkg[a,b]~=2.0,!=2.1; python_version > '3.10'", "bare"],
    "REQUIRES": ["tracing", "framework.gather"],
    "PROBE": "shop.probes.chat",
    "CLOSE": "close",
}


def test_every_key_is_read():
    spec = read("llm.chat", GOOD, "shop/settings.py:7")
    assert spec.problem == ""
    assert spec == Spec(
        "llm.chat",
        "shop.llm.Chat",
        {"model": "small"},
        tuple(GOOD["PACKAGES"]),
        ("tracing", "framework.gather"),
        "shop.probes.chat",
        "close",
        "shop/settings.py:7",
    )
    assert set(GOOD) == set(KEYS)


def test_only_the_backend_is_required():
    assert read("a", {"BACKEND": "shop.llm.Chat"}, "").problem == ""
    assert read("a", {}, "").problem == "has no BACKEND"


@pytest.mark.parametrize(
    ("wrong", "problem", "repair"),
    [
        ({"BACKED": "a.B"}, "has an unknown key 'BACKED'", "Did you mean 'BACKEND'?"),
        ({**GOOD, "requires": []}, "has an unknown key 'requires'", "Did you mean 'REQUIRES'?"),
        ({**GOOD, "FALLBACK": None}, "has an unknown key 'FALLBACK'", f"Use {', '.join(KEYS)}."),
        ({7: None}, "has an unknown key 7", "Use "),
        ({**GOOD, "BACKEND": "Chat"}, "has a BACKEND that is no dotted path", "package.module"),
        ({**GOOD, "BACKEND": None}, "has a BACKEND that is no dotted path", "package.module"),
        ({**GOOD, "BACKEND": "a..B"}, "has a BACKEND that is no dotted path", "package.module"),
        ({**GOOD, "OPTIONS": ["x"]}, "has a OPTIONS that is no dictionary", '{"argument"'),
        ({**GOOD, "OPTIONS": {1: 2}}, "has a OPTIONS that is no dictionary", '{"argument"'),
        ({**GOOD, "PACKAGES": "requests"}, "has a PACKAGES that is no list", "distribution"),
        ({**GOOD, "PACKAGES": [1]}, "has a PACKAGES that is no list of texts", "distribution"),
        ({**GOOD, "PACKAGES": ["a b"]}, "has a PACKAGES that names something", "distribution"),
        ({**GOOD, "PACKAGES": ["a=>1"]}, "has a PACKAGES that names something", "distribution"),
        ({**GOOD, "PACKAGES": ["x @ https://y"]}, "has a PACKAGES that names", "distribution"),
        ({**GOOD, "REQUIRES": "gather"}, "has a REQUIRES that is no list", "name.of"),
        ({**GOOD, "PROBE": "chat"}, "has a PROBE that is no dotted path", "package.module"),
        ({**GOOD, "PROBE": len}, "has a PROBE that is no dotted path", "package.module"),
        ({**GOOD, "CLOSE": "close()"}, "has a CLOSE that is no dotted path", "a method"),
        ("shop.llm.Chat", "must be a dictionary", "BACKEND"),
        (None, "must be a dictionary", "BACKEND"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_write(wrong, problem, repair):
    spec = read("llm.chat", wrong, "")
    assert problem in spec.problem
    assert repair in spec.repair
    assert read("llm.chat", GOOD, "").problem == ""


def test_all_that_is_wrong_is_said_at_once():
    spec = read("a", {"BACKEND": 1, "OPTION": {}, "REQUIRES": "x"}, "")
    assert spec.problem.count("has a") == 3


def test_the_keys_that_there_are_are_listed_once():
    spec = read("a", {**GOOD, "X": 1, "requires": []}, "")
    assert spec.problem == "has unknown keys 'X' and 'requires'"
    assert spec.repair == f"Use {', '.join(KEYS)}. Did you mean 'REQUIRES'?"


def test_no_value_of_an_option_is_repeated():
    assert "hunter2" not in repr(read("a", {"BACKEND": "hunter2", "OPTIONS": {7: "hunter2"}}, ""))


def test_options_that_contain_themselves():
    options: dict[str, object] = {}
    options["again"] = [options]
    assert "contains itself" in read("a", {**GOOD, "OPTIONS": options}, "").problem


@pytest.mark.parametrize("name", [7, "", "a b", "a..b", ".a", "a\n", None])
def test_a_name_that_no_report_could_show(name):
    raw: dict[object, object] = {name: GOOD}
    (spec,) = read_all(raw, "").values()
    assert "has a name" in spec.problem
    assert read("a-1.b_2", GOOD, "").problem == ""


@pytest.mark.parametrize("raw", [None, [], "x", 1])
def test_anything_but_a_dictionary(raw):
    with pytest.raises(UsageError, match="must be a dictionary"):
        read_all(raw, "")
    assert read_all({}, "") == {}


def test_references_are_found_at_any_depth():
    one, two, three, four = (env.ref(name) for name in ("ONE", "TWO", "THREE", "FOUR"))
    options = {"a": one, "b": [{"c": (two, "x")}], "d": {"e": {"f": [[three]]}}, "g": {four}}
    assert set(refs(options)) == {one, two, three, four}
    assert list(refs({"a": "x", "b": [1, None]})) == []


def test_the_place_of_a_declaration(tmp_path):
    file = tmp_path / "settings.py"
    file.write_text("X = 'llm.chat'\nCOMPONENTS = {\n    'llm.chat': {},\n}\n")
    assert read("llm.chat", GOOD, str(file)).place() == f"{file}:3"
    assert read("llm.other", GOOD, str(file)).place() is None
    assert read("llm.chat", GOOD, str(tmp_path / "gone.py")).place() is None
    assert read("llm.chat", GOOD, "shop/x.py:12").place() == "shop/x.py:12"
    assert read("llm.chat", GOOD, "").place() is None


# ── who wins ────────────────────────────────────────────────────────────────────────────────────


def spec_of(backend: str, location: str = "") -> dict[str, Spec]:
    return {"a": read("a", {"BACKEND": backend}, location)}


def test_settings_win_over_code_and_code_over_apps():
    all_of_them = Declarations()
    all_of_them.replace("blog", spec_of("blog.A"))
    assert all_of_them.in_force()["a"].backend == "blog.A"
    all_of_them.add("code", spec_of("code.A")["a"])
    assert all_of_them.in_force()["a"].backend == "code.A"
    all_of_them.replace("settings", spec_of("settings.A"))
    all_of_them.replace("shop", spec_of("shop.A"))
    assert all_of_them.in_force()["a"].backend == "settings.A"
    all_of_them.replace("settings", {})
    assert all_of_them.in_force()["a"].backend == "code.A"


def test_two_apps_with_one_name_are_not_guessed_at():
    two = Declarations()
    two.replace("blog", spec_of("blog.A", "blog/components.py:3"))
    two.replace("shop", spec_of("shop.A", "shop/components.py:8"))
    problem = two.in_force()["a"].problem
    assert problem == "stands in blog/components.py:3 and in shop/components.py:8"
    two.replace("shop", {})
    assert two.in_force()["a"].problem == ""


def test_specs_that_cannot_be_compared_are_not_the_same():
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        __hash__ = None  # type: ignore[assignment]

    def odd() -> Spec:
        return read("a", {"BACKEND": "a.B", "OPTIONS": {"x": Odd()}}, "")

    assert not same(odd(), odd())
    assert same(read("a", GOOD, ""), read("a", GOOD, ""))


def test_dependents_near_and_far():
    requires = {"a": [], "b": ["a"], "c": ["b"], "d": [], "e": ["c", "d"], "f": ["g"], "g": ["f"]}
    specs = {
        name: read(name, {"BACKEND": "a.B", "REQUIRES": names}, "")
        for name, names in requires.items()
    }
    assert dependents(["a"], specs) == ["b", "c", "e"]
    assert dependents(["d"], specs) == ["e"]
    assert dependents(["f"], specs) == ["g"]
    assert dependents(["e"], specs) == []
