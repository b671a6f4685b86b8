"""Files that no scan may hang on, crash on or pass over in silence."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from resilience import audit
from resilience.audit.joined import findings
from resilience.audit.sightings import Place, Sighting
from resilience.audit.statements import assignment, statement

READS = 'import os\nKEY = os.environ["SHOP_KEY"]\n'
DEEP = {
    "a sum": "x = " + "1 + " * 20_000 + "1\n",
    "signs": "x = " + "-" * 200_000 + "1\n",
    "an else of an else": "if a:\n    pass\n" + "elif a:\n    pass\n" * 3_000,
    "attributes": "x = a" + ".b" * 20_000 + "\n",
}


def scanned(folder: Path) -> list[tuple[str, str]]:
    return [(one.id, one.summary) for one in audit.scan([folder])]


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_a_generated_file_is_named_and_the_others_are_read(tmp_path, text):
    (tmp_path / "deep.py").write_text(f"import os\nos.environ['SHOP_KEY']\n{text}")
    (tmp_path / "plain.py").write_text(READS)
    found = scanned(tmp_path)
    assert ("audit.import-read", "SHOP_KEY is read at import: no later change is seen.") in found
    assert len(found) == 2, "either it is read, or it is named as unreadable"
    place = Place(str(tmp_path / "deep.py"), 2)
    seen = Sighting("audit.import-read", "SHOP_KEY", place, place, traced=True)
    assert [one.location for one in findings([seen])] == [f"{tmp_path}/deep.py:2"]
    assert assignment(place.file, "absent") is None


def test_a_generated_file__twin__is_unreadable_where_it_is_too_deep(tmp_path):
    (tmp_path / "deep.py").write_text(f"import os\nos.environ\nx = {'-' * 200_000}1\n")
    ((identifier, said),) = scanned(tmp_path)
    assert identifier == "audit.unreadable"
    assert "deep.py" in said


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    place = Place(str(tmp_path / "pipe.py"), 3)
    assert statement(place) == place
    assert scanned(tmp_path) == [
        ("audit.unreadable", "Not examined: pipe.py is not a regular file.")
    ]


def test_a_named_pipe__twin__a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "kept").write_text(READS)
    (tmp_path / "link.py").symlink_to(tmp_path / "kept")
    assert [identifier for identifier, _ in scanned(tmp_path)] == ["audit.import-read"]


@pytest.mark.parametrize(
    "content", [READS.encode("utf-16"), READS.encode("utf-16-le"), b"x = 1\n\0"]
)
def test_a_file_with_nul_bytes_is_named_whatever_else_it_holds(tmp_path, content):
    (tmp_path / "wide.py").write_bytes(content)
    assert scanned(tmp_path) == [
        ("audit.unreadable", "Not examined: wide.py is not text in UTF-8: it has NUL bytes.")
    ]


def test_a_file_with_nul_bytes__twin__another_encoding_that_is_declared(tmp_path):
    text = f"# coding: latin-1\n# \xe9\n{READS}"
    (tmp_path / "plain.py").write_bytes(text.encode("latin-1"))
    assert [identifier for identifier, _ in scanned(tmp_path)] == ["audit.import-read"]


def doubling(depth: int) -> str:
    """Functions that call the next one twice: 2 to the power of ``depth`` ways to the last."""
    calls = "".join(f"def f{n}():\n    f{n + 1}()\n    f{n + 1}()\n" for n in range(depth))
    return f"import os\n{calls}def f{depth}():\n    os.getenv('SHOP_KEY')\nf0()\n"


def test_calls_that_double_take_no_time(tmp_path):
    (tmp_path / "module.py").write_text(doubling(18))
    began = time.monotonic()
    assert [identifier for identifier, _ in scanned(tmp_path)] == ["audit.import-read"]
    assert time.monotonic() - began < 1


def test_calls_that_double__twin__each_statement_and_each_argument_counts(tmp_path):
    text = "import os\ndef get(name):\n    return os.environ[name]\n"
    text += "A = get('SHOP_A') or get('SHOP_B') or get('SHOP_A')\nB = get('SHOP_A')\n"
    (tmp_path / "module.py").write_text(text)
    assert [(one.location, one.summary.partition(" ")[0]) for one in audit.scan([tmp_path])] == [
        (f"{tmp_path}/module.py:4", "SHOP_A,"),
        (f"{tmp_path}/module.py:5", "SHOP_A"),
    ]


def test_a_call_that_was_cut_short_by_its_depth_is_followed_again(tmp_path):
    chain = "".join(f"def f{n}():\n    f{n + 1}()\n" for n in range(22))
    text = f"import os\n{chain}def f22():\n    os.getenv('SHOP_KEY')\nx = [f0(), f10()]\n"
    (tmp_path / "module.py").write_text(text)
    assert [identifier for identifier, _ in scanned(tmp_path)] == ["audit.import-read"]
