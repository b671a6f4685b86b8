"""A value planted in every broken file and variable is in no error, log, page or output."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import pytest
from django.test import RequestFactory
from django.views.debug import ExceptionReporter, technical_500_response

from resilience import env, redact
from resilience.errors import EnvError
from tests.processes import ROOT

# In names that sound like no secret and in no known shape, so that no mask hides a leak.
CANARIES = ("Tr0ub4dorHorse", "QX7ZKHORSE2W")
NAME = "SHOP_VALUE"

FILES = [
    "{c}",
    "{c}\n{c}",
    "SHOP_VALUE {c}",
    "SHOP_VALUE: {c}",
    "SHOP_VALUE: '{c}'",
    "={c}",
    "= '{c}'",
    "SHOP_VALUE='{c}",
    'SHOP_VALUE="{c}',
    "SHOP_VALUE='x' {c}",
    'SHOP_VALUE="x"{c}',
    "SHOP_VALUE={c}\nOTHER='{c}\n{c}",
    "SHOP_VALUE = = '{c}\n'{c}",
    "export {c}",
    "export SHOP_VALUE\n{c}",
    "set SHOP_VALUE={c}",
    "$env:SHOP_VALUE = '{c}'",
    "setenv SHOP_VALUE {c}",
    "K=-----BEGIN PRIVATE KEY-----\n{c}\n{c}==\n-----END PRIVATE KEY-----",
    "K='-----BEGIN PRIVATE KEY-----\n{c}\n-----END PRIVATE KEY-----",
    "SHOP_VALUE=<<EOF\n{c}\nEOF",
    '{{"SHOP_VALUE": "{c}"}}',
    "[shop]\nvalue = {c}\n{c}",
    "<{c}>",
    "'{c}=1",
    "{c}+/x=1",
    "{c} = x y\nSHOP_VALUE\t{c}",
    "SHOP_VALUE={c}\0",
    "SHOP_VALUE={c}\n\ufeff{c}",
    "SHOP_VALUE={c}\r{c}\r={c}",
    "# fine\nSHOP_VALUE=1 # {c}\n{c} {c} {c}",
]
ENCODED = [("SHOP_VALUE={c}ü", "latin-1"), ("SHOP_VALUE={c}", "utf-16"), ("\ud800{c}", "utf-8")]
TYPED = [
    *(("int", text) for text in ("{c}", "12{c}", "1 {c}", "0x{c}", "{c}\n7")),
    *(("float", text) for text in ("{c}", "1e{c}", "1,{c}", "nan{c}")),
    *(("bool", text) for text in ("{c}", "tru{c}", "yes {c}")),
    *(
        ("url", text)
        for text in (
            "{c}",
            "redis:{c}",
            "://{c}",
            "re dis://{c}",
            "redis://u:{c}@h:port",
            "redis://u:{c}@h:{c}",
            "redis://u:{c}/x@h",
            "redis://u:{c}#x@h",
            "redis://u:p@[{c}",
            "https://h:{c}",
            "https://h:99999/{c}",
            "https://\u2100{c}",
            "redis://:{c}@/0",
            "${{{{Redis.{c}}}}}",
        )
    ),
    *(
        ("db", text)
        for text in (
            "{c}",
            "postgress://u:{c}@h/d",
            "postgres://u:{c}@h:{c}/d",
            "postgres://u:p/{c}@h/d",
            "postgres://u:p@[{c}/d",
            "sqlite://{c}",
            "mysql:///{c}",
            "{c}://u:p@h/d",
        )
    ),
]
POINTERS = ["{c}", "/{c}", "{c}/x", "/tmp/{c}/{c}", "./{c}", "\n{c}"]
# What the doctor calls each of them.
IDS = {
    "env.dotenv-syntax", "env.dotenv-unreadable", "env.file-missing", "env.file-and-value",
    "env.invalid", "env.missing", "env.unresolved-reference",
}  # fmt: skip


class Case(NamedTuple):
    """A ``.env`` and variables with the canary in them, and the type that they are declared as."""

    kind: str
    dotenv: bytes = b""
    variables: dict[str, str] = {}  # noqa: RUF012 - never changed


def cases(canary: str) -> Iterator[Case]:
    for text in FILES:
        yield Case("secret", text.format(c=canary).encode())
    for text, encoding in ENCODED:
        yield Case("str", text.format(c=canary).encode(encoding, "surrogatepass"))
    for kind, text in TYPED:
        filled = text.format(c=canary)
        yield Case(kind, variables={NAME: filled})
        yield Case(kind, f"{NAME}='{filled}'".encode())
    for text in POINTERS:
        yield Case("secret", variables={f"{NAME}_FILE": text.format(c=canary)})
    yield Case("str", variables={NAME: canary, f"{NAME}_FILE": canary})
    yield Case("ref", f"{NAME}='{canary}".encode())
    yield Case("ref", variables={f"{NAME}_FILE": canary})


SOURCE = """\
from resilience import env
SECRET_KEY = "x" * 60
INSTALLED_APPS = ["resilience"]
DATABASES = {}
env.load(%r)
VALUE = env.%s("SHOP_VALUE")
if isinstance(VALUE, env.Ref):
    VALUE.resolve()
"""


def write(folder: Path, case: Case) -> Path:
    """A settings module that declares the variable."""
    folder.mkdir(exist_ok=True)
    (folder / ".env").write_bytes(case.dotenv)
    settings = folder / "canary_settings.py"
    settings.write_text(SOURCE % (str(folder), case.kind))
    return settings


def leaks(text: str, canary: str) -> bool:
    part = canary.lower()
    return any(piece in text.lower() for piece in (part[:8], part[-8:]))


def shown(error: BaseException, own: TracebackType | None) -> Iterator[str]:
    """Every text that a handler makes of an exception raised below the frames of this test."""
    yield f"{error}{error!r}{error.args}{vars(error)}"
    # A reporter shows the variables of every frame, and follows every chain.
    seen: list[BaseException] = []
    chain: list[BaseException | None] = [error]
    while chain:
        link = chain.pop()
        if link is None or link in seen:
            continue
        seen.append(link)
        chain += [link.__cause__, link.__context__]
        frames = own if link is error else link.__traceback__
        yield f"{link}{link!r}{vars(link)}"
        yield "".join(
            traceback.TracebackException(type(link), link, frames, capture_locals=True).format()
        )
        request = RequestFactory().get("/")
        reporter = ExceptionReporter(request, type(link), link, frames)
        yield reporter.get_traceback_text()
        yield technical_500_response(request, type(link), link, frames).content.decode()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(exc_info)s"))
    record = logging.LogRecord("x", 40, "x", 1, "%s %r", (error, error), (type(error), error, own))
    handler.handle(record)
    yield stream.getvalue()
    yield pickle.dumps(error).decode("latin-1")


def raised(source: Path, code: str) -> tuple[BaseException, TracebackType | None]:
    """What a module raises at its import, and its traceback without this test's own frames."""
    namespace = {"__file__": str(source), "__name__": "canary_settings"}
    try:
        exec(compile(code, str(source), "exec"), namespace)  # noqa: S102 - as an import does it
    except Exception as error:  # noqa: BLE001 - whatever it is
        own = error.__traceback__
        while own is not None and own.tb_frame.f_code.co_filename == __file__:
            own = own.tb_next
        return error, own
    raise AssertionError("it raises nothing")


@pytest.mark.parametrize("canary", CANARIES)
def test_no_error_log_or_page_shows_it(tmp_path, canary, settings):
    settings.DEBUG = True  # the page with everything on it
    for case in cases(canary):
        before = dict(os.environ)
        os.environ.update(case.variables)
        source = write(tmp_path, case)
        try:
            error, own = raised(source, source.read_text())
        except AssertionError:  # a doctor alone minds these: elsewhere "$" is literal
            assert b"$" in case.dotenv or "$" in str(case.variables), case
            continue
        finally:
            env.reset()
            redact.reset()
            os.environ.clear()
            os.environ.update(before)
        assert isinstance(error, EnvError), case
        for text in shown(error, own):
            assert not leaks(text, canary), (case, text)


@pytest.mark.parametrize(
    "code",
    [
        f"import os; int(os.environ[{NAME!r}])",
        f"import os\ndef read(text): raise ValueError\nread(os.environ[{NAME!r}])",
        f"import os\ntry: int(os.environ[{NAME!r}])\nexcept ValueError: raise OSError from None",
    ],
    ids=["message", "frame", "chain"],
)
def test_no_error__twin__what_leaks_is_found(tmp_path, settings, code):
    settings.DEBUG = True
    os.environ[NAME] = CANARIES[0]
    error, own = raised(tmp_path / "x.py", code)
    assert any(leaks(text, CANARIES[0]) for text in shown(error, own))


# One process forks for every command: Django is imported once, and each command ends as it does.
DRIVER = """
import json, os, sys, traceback
import django.core.management, django.core.checks, django.test
from resilience.__main__ import main
import resilience.probes.env, resilience.probes.examine
outputs = []
for number, (folder, variables, command) in enumerate(json.load(sys.stdin)):
    name = f"{folder}/output"
    pid = os.fork()
    if pid == 0:
        out = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(out, 1); os.dup2(out, 2)
        os.environ.update(variables)
        os.chdir(folder)
        sys.path.insert(0, folder)
        os.environ["DJANGO_SETTINGS_MODULE"] = "canary_settings"
        if command:
            main(command)
        try:
            import canary_settings
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    outputs.append(open(name, encoding="utf-8").read())
json.dump(outputs, sys.stdout)
"""


def test_no_command_prints_it(tmp_path):
    doctor = ["checkdeploy", "env", "--deadline", "600"]
    wanted, jobs = [], []
    for number, both in enumerate(zip(*map(cases, CANARIES), strict=True)):
        canary, case = CANARIES[number % 2], both[number % 2]
        write(tmp_path / str(number), case)
        for command in ([*doctor, *(["-v", "2"] if number % 4 < 2 else ["--format", "json"])], []):
            wanted.append((canary, case, command))
            jobs.append((str(tmp_path / str(number)), case.variables, command))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(jobs),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    outputs = json.loads(done.stdout)
    assert len(outputs) == len(wanted) > 120
    for (canary, case, command), output in zip(wanted, outputs, strict=True):
        assert not leaks(output, canary), (case, command, output)
        if command:
            assert any(identifier in output for identifier in IDS), (case, output)
            assert case.kind == "ref" or "setup-failed" not in output, (case, output)
