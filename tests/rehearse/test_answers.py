"""What a child says reaches who started it, whatever its project does to the process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from resilience.rehearse import diagnosis
from resilience.rehearse.answers import IMPORTED, IMPORTING, Answer, Voice
from resilience.rehearse.children import command
from resilience.rehearse.confinement import Confinement
from resilience.rehearse.databases import Sqlite
from resilience.rehearse.request import Request
from resilience.rehearse.stage import Stage
from resilience.rehearse.survey import Survey
from tests.processes import ROOT
from tests.rehearse import naive

AS_TOLD = "\nimport os\nexec(os.environ.get('ODD', ''))\n"
IGNORED = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
LINE = len(naive.MENDED["shop/settings.py"].splitlines()) + 3


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    """One for all: a project whose settings do what the variable ODD says."""
    outer = tmp_path_factory.mktemp("odd")
    settings = naive.MENDED["shop/settings.py"] + AS_TOLD
    folder = naive.write(outer / "shop", {**naive.MENDED, "shop/settings.py": settings})
    work = outer / "work"
    work.mkdir()
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environ |= {**naive.VARIABLES, "PYTHONPATH": str(ROOT), "SECRET_KEY": naive.ENV[11:-1]}
    request = Request(
        *(str(folder), "shop.settings", environ, (".env",), str(work), "none", (), ("/",), 0.1, ())
    )
    with Stage(request, Survey(), Sqlite(work), Confinement(isolated=False)) as made:
        yield made


def odd(stage: Stage, source: str) -> None:
    stage.environ["ODD"] = source


@pytest.mark.parametrize(
    "source",
    [
        "print('hello', flush=True); print('{')",
        "import os; os.close(1)",
        "import os; os.closerange(1, 64)",
        "import sys; sys.stdout = sys.stderr",
        f"import atexit, time; atexit.register(time.sleep, 600)\n{IGNORED}",
        "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()",
    ],
)
def test_the_report_arrives(stage, source):
    odd(stage, source)
    found = diagnosis.checkdeploy(stage, "components")
    assert found.problem == found.hint == ""
    assert "components" in {each.subject for each in found.said}


@pytest.mark.parametrize(
    ("source", "problem", "place"),
    [
        (
            "import os; os._exit(0)",
            "ended by itself with status 0",
            f" at shop/settings.py:{LINE},",
        ),
        (
            "import os; os._exit(7)",
            "ended by itself with status 7",
            f" at shop/settings.py:{LINE},",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV", ""),
    ],
)
def test_a_process_that_ends_while_settings_are_imported__twin(stage, source, problem, place):
    odd(stage, source)
    found = diagnosis.checkdeploy(stage, "components")
    assert found.problem == f"checkdeploy {problem}{place} while its settings were imported"
    assert f"what ends the process{place.rstrip(',')}: os._exit()" in found.hint
    assert found.said == ()


def test_the_survey_and_migrations_end_with_what_they_do(stage):
    odd(stage, f"import atexit, time; atexit.register(time.sleep, 600)\n{IGNORED}print('x')")
    answer = command(stage, "survey", "survey", seconds=20.0)
    assert Survey.read(answer.said or "").wsgi == "shop.wsgi.application"
    migrated = command(stage, "migrate", "django", "migrate", "--no-input", seconds=20.0)
    assert (migrated.code, migrated.said, migrated.problem) == (0, "", "")


def test_migrations_that_fail__twin(stage):
    odd(stage, "INSTALLED_APPS = [*INSTALLED_APPS, 'no_such_app']")
    failed = command(stage, "migrate", "django", "migrate", "--no-input", seconds=20.0)
    assert (failed.code, failed.said) == (1, None)
    assert failed.problem == "ended by itself with status 1 after its settings were imported"


def test_one_that_hangs_is_ended_and_its_step_is_named(stage):
    odd(stage, f"{IGNORED}import time; time.sleep(600)")
    hung = command(stage, "survey", "survey", seconds=1.5)
    assert hung.said is None
    assert hung.problem == "hung while its settings were imported, and was ended after 2 s"
    assert hung.hint.startswith("Find what waits there")


def test_what_came_before_it_hung_counts__twin(stage):
    odd(stage, "import os, time; os._exit = lambda status: time.sleep(600)")
    late = command(stage, "survey", "survey", seconds=4.0)
    assert (late.waited, late.code, late.problem) == (4.0, -9, "")
    assert Survey.read(late.said or "").wsgi == "shop.wsgi.application"


# ── the file ────────────────────────────────────────────────────────────────────────────────────


def test_a_line_that_was_cut_off_does_not_count(tmp_path):
    file = tmp_path / "answer"
    voice = Voice(str(file))
    voice.step(IMPORTING)
    voice.step(IMPORTED)
    voice.report("all is well", None, 1)
    assert Answer.read(file, 1, None) == Answer(1, "all is well", None, IMPORTED)
    whole = file.read_text(encoding="utf-8")
    for cut in range(1, len(whole.splitlines()[-1]) + 1):
        file.write_text(whole[: -1 - cut], encoding="utf-8")
        assert Answer.read(file, -9, 2.0) == Answer(-9, None, 2.0, IMPORTED)


def test_nothing_at_all_is_told_as_well(tmp_path):
    file = tmp_path / "answer"
    file.touch()
    assert Answer.read(file, -64, None).problem == (
        "was ended by SIGRTMAX before its settings were imported"
    )
    assert Answer.read(file, -99, None).problem.startswith("was ended by signal 99 ")
    assert json.dumps(Answer.read(file, 0, None).hint)
    assert "report it" in Answer(1, step=IMPORTED).hint
