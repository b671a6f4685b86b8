"""Every example of README and docs/ is run, read by what reads it in earnest, or says why not."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
import yaml

from tests.docs import shell, snippets
from tests.docs.blocks import (
    DIRECTIVE,
    LANGUAGES,
    Block,
    agrees,
    every_block,
    is_excused,
    parse,
    sample,
)
from tests.docs.following import consoles
from tests.processes import ROOT

BLOCKS = every_block()
# Whose console blocks are run from the first to the last, and by which tests: those that name the
# page in their PAGES, and have a test that fails for a block left out.
RUN = {
    "README.md": "tests.docs.test_readme",
    "docs/how-to/adopt.md": "tests.packaging.test_adopt_page",
    "docs/how-to/asgi.md": "tests.docs.test_how_to_servers",
    "docs/how-to/celery.md": "tests.docs.test_how_to_servers",
    "docs/how-to/migrate-from-django-redis.md": "tests.docs.test_how_to_cache",
    "docs/how-to/migrate-from-ignore-exceptions.md": "tests.docs.test_how_to_cache",
    "docs/how-to/proxies-and-private-cas.md": "tests.docs.test_how_to_tls",
    "docs/how-to/rate-limits.md": "tests.docs.test_how_to_cache",
    "docs/reference/env.md": "tests.docs.test_env_page",
    "docs/tutorial.md": "tests.docs.test_tutorial",
}
FOLLOWED = {"docs/tutorial.md"}  # whose files are written one upon the other
INSTRUCTIONS = frozenset(
    "ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK RUN USER WORKDIR".split()
)


def judged(block: Block) -> list[str]:
    """What is wrong with a block; settings are looked at by ``unloadable`` as well."""
    if block.language not in LANGUAGES:
        return [] if block.language == "text" or DIRECTIVE.match(block.language) else ["language?"]
    if block.excuse:
        return [] if is_excused(block) else ["the reason is too short to be one"]
    try:
        return list(READERS[block.language](block))
    except (SyntaxError, ValueError, yaml.YAMLError, configparser.Error) as error:
        return [str(error)]


def _python(block: Block) -> list[str]:
    return snippets.problems(block.text)


def _console(block: Block) -> Iterator[str]:
    for command, _ in sample(block):
        yield from _shell(command)
    if block.page not in RUN:
        yield "no test runs this"


def _sh(block: Block) -> Iterator[str]:
    yield from _shell(block.text)
    if block.page != snippets.TERSE:
        yield from shell.elsewhere(block.text)


def _shell(text: str) -> Iterator[str]:
    if wrong := shell.unread(text):
        yield wrong
    else:
        yield from shell.misused(text)


def _yaml(block: Block) -> Iterator[str]:
    for document in yaml.safe_load_all(block.text):
        if not isinstance(document, dict | list):
            yield "neither a mapping nor a list"
        for command in _strings(document):
            if "manage.py" in command or "-m resilience" in command:
                yield from _shell(command)


def _strings(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for each in node.values() if isinstance(node, dict) else node:
            yield from _strings(each)


def _json(block: Block) -> list[str]:
    json.loads(block.text)
    return []


def _toml(block: Block) -> list[str]:
    tomllib.loads(block.text)
    return []


def _ini(block: Block) -> list[str]:
    configparser.ConfigParser().read_string(block.text)
    return []


def _dockerfile(block: Block) -> Iterator[str]:
    for line in block.text.replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if line and not line.startswith("#") and (word not in INSTRUCTIONS or not rest):
            yield f"no instruction of a Dockerfile: {line}"
        if word in ("RUN", "CMD") and not rest.startswith("["):
            yield from _shell(rest)


READERS: dict[str, Callable[[Block], list[str] | Iterator[str]]] = {
    "python": _python,
    "console": _console,
    "sh": _sh,
    "yaml": _yaml,
    "json": _json,
    "toml": _toml,
    "ini": _ini,
    "dockerfile": _dockerfile,
}


def unloadable(blocks: list[Block]) -> dict[str, str]:
    """The settings among these blocks that ``manage.py check`` has something against."""
    python = [each for each in blocks if each.language == "python" and not each.excuse]
    shown = [each for each in python if each.page not in FOLLOWED]
    sources = {str(block): snippets.settings_in(block) for block in shown}
    wanted = {name: source for name, source in sources.items() if source}
    said = snippets.load(list(wanted.values()))
    return {name: wrong for name, wrong in zip(wanted, said, strict=True) if wrong}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_an_example_is_what_it_claims_to_be(block):
    assert judged(block) == []


def too_long(text: str) -> list[str]:
    """Lines of prose beyond 100 columns; tables, headings and blocks cannot be broken."""
    prose = re.sub(r"^( *```+).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for line in prose.splitlines() if len(line) > 100 and line[0] not in "|#"]


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "how-to").glob("*.md")), ids=str)
def test_the_prose_of_a_how_to_page_fits_in_100_columns(path):
    text = path.read_text(encoding="utf-8")
    assert too_long(text) == []
    assert too_long(f"{text}\n{'too long ' * 12}\n") == ["too long " * 12]


@pytest.mark.parametrize("page", RUN)
def test_a_page_that_other_tests_run_is_run_there(page):
    assert page in import_module(RUN[page]).PAGES
    assert any(block.page == page for block in consoles(BLOCKS)), "nothing to run"


def test_settings_are_loaded_and_checked():
    assert unloadable(BLOCKS) == {}


def test_settings__twin():
    pages = (
        'RESILIENCE = {"CRITICL": []}',
        'RESILIENCE = {"COMPONENTS": {"a": {"BACKEND": "x.Y", "OPTION": {}}}}',
        'CACHES = {"default": {"BACKEND": "resilience.cache.NoCache"}}',
        '"OPTIONS": {"RESILIENCE": {"STRICT": "rl:*", "MAX_STAIL": 1}}',
        '"RESILIENCE": {"MAX_STALE": "1"}',
        '"llm": {"BACKEND": "x.Y", "PAKAGES": []}',
        'MIDDLEWARE = ["resilience.middleware.HealthMiddleware"]',
        'SECRET_KEY = env.secret("SECRET_KEY")',
        'COMPONENTS = {"a.b": {"BAKEND": "x.Y"}}',
        'INSTALLED_APPS += ["resilience.histories"]',
        'DEBUG = False\nINSTALLED_APPS += ["resilience.history"]',
    )
    blocks = [Block("page.md", line, "python", text) for line, text in enumerate(pages)]
    assert set(unloadable(blocks)) == {f"page.md:{line}" for line in range(len(pages) - 1)}


@pytest.mark.parametrize(
    ("language", "broken", "sound"),
    [
        ("python", "def (:", "def f(): ..."),
        ("python", "from resilience.cache import states", "from resilience.cache import status"),
        ("python", "import resilience.caches", "import resilience.cache"),
        ("python", 'x = "resilience.middleware.Health"', 'x = "resilience.middleware"'),
        ("python", "1 +", 'await components.aget("a")'),
        ("sh", "A=1 docker build .", "echo docker-build"),
        ("sh", "kubectl get pods", None),
        ("sh", "if true; then", "if true; then :; fi"),
        ("sh", "python manage.py checkdeploy --stages build", "python manage.py checkdeploy cache"),
        ("sh", "python manage.py checkdeploy cashe", "python manage.py checkredis --wait 9"),
        ("sh", "python manage.py chekdeploy", "python -m resilience checkdeploy env"),
        ("sh", "A=1 scripts/runs", "A=1 scripts/run migrate | cat"),
        ("sh", "manage.py checkdeploy --explain redis.oops", "manage.py check --deploy"),
        ("console", "$ true", None),
        ("console", "true", None),
        ("yaml", "a: [", "a: []"),
        ("yaml", "run: python manage.py checkdeploy -x", "run: python manage.py checkdeploy"),
        ("yaml", "only words", "- words"),
        ("json", "{", "{}"),
        ("toml", "a =", "a = 1"),
        ("ini", "a = 1", "[a]\nb = 1"),
        ("dockerfile", "RUNN true", "RUN true"),
        ("dockerfile", "RUN python manage.py checkdeploi", 'CMD ["gunicorn"]'),
        ("", "anything", None),
        ("pyton", "1", None),
    ],
)
def test_an_example_that_is_broken_is_found__twin(language, broken, sound):
    assert judged(Block("page.md", 1, language, broken)) != []
    assert sound is None or judged(Block("page.md", 1, language, sound)) == []


def test_an_excuse_is_for_the_next_block_only_and_has_words():
    page = (
        "<!-- not run: it needs a cluster -->\n\n```sh\n(\n```\n\n```sh\n(\n```\n"
        "<!-- not run: it needs a cluster -->\nA sentence.\n\n```sh\n(\n```\n"
        "<!-- not run: no -->\n```sh\n:\n```\n"
    )
    assert [bool(judged(block)) for block in parse(page)] == [False, True, True, True]


def test_every_block_of_a_page_is_found():
    page = "```sh\na\n```\n- b\n  ````python\n  ```\n  c\n  ````\n```text\n\n```\n"
    found = [(block.line, block.language, block.text) for block in parse(page)]
    assert found == [(1, "sh", "a\n"), (5, "python", "```\nc\n"), (9, "text", "\n")]
    with pytest.raises(ValueError, match=r"page\.md:1: nothing closes"):
        list(parse("```sh\na\n"))
    fences = re.compile(r"^ *```", re.MULTILINE)
    from_pages = {block.page for block in BLOCKS}
    for name in from_pages:
        here = [block for block in BLOCKS if block.page == name]
        text = (ROOT / name).read_text(encoding="utf-8")
        assert len(fences.findall(text)) == 2 * len(here), name


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("took 3.1 s", "took 12 s\n", True),
        ("one\ntwo", "one two", True),
        ("first\n…\nlast 1", "first\nand\nmore\nlast 2", True),
        ("first\n…", "first", True),
        ("first\n…\nlast", "first\nlast, and more", False),
        ("took 3 s", "took 3 ms", False),
        ("a (b).", "a (b)x", False),
        ("…\nb", "x c", False),
        ("…", "", True),
        ("", "something", False),
        ("1 error, 2 warnings", "3 errors, 1 warning", True),
    ],
)
def test_what_is_shown_agrees_with_what_is_printed(shown, printed, same):
    assert agrees(shown, printed) is same
