"""What the page about the environment shows is what is printed."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.docs.blocks import agrees, read, sample
from tests.processes import ROOT, Ended, run, write_project

PAGES = ("docs/reference/env.md",)
PAGE = ROOT / "docs" / "reference" / "env.md"
DECLARED = """from resilience import env

SECRET_KEY = env.secret("SECRET_KEY")
DEBUG = env.bool("DEBUG", default=False)
DATABASES = {"default": env.db("DATABASE_URL", default="sqlite:///db.sqlite3")}
REDIS_URL = env.url("REDIS_URL", default=None)
OPENAI_API_KEY = env.ref("OPENAI_API_KEY")
INSTALLED_APPS = ["resilience"]
"""


def project(folder: Path) -> Path:
    """As the page has it: each variable from another source, and one that is misspelt."""
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "REDIS_URL").write_text("redis://localhost/0")
    dotenv = "SECRET_KEY=only-for-this-page-0123456789abcdefghijklmnopqrstuvwxyz\nREDIS_UR=x\n"
    write_project(folder, "", __env=dotenv)
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("from resilience import env\n\nenv.load()\n")
    (folder / "shop" / "settings.py").write_text(DECLARED)
    return folder


def printed(folder: Path, command: str) -> Ended:
    _, *words = command.split()
    return run(
        *(sys.executable, *words),
        cwd=folder,
        variables={
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "DEBUG": "true",
            "CREDENTIALS_DIRECTORY": str(folder / "secrets"),
        },
    )


def test_the_sample_is_what_is_printed(tmp_path):
    folder = project(tmp_path)
    (block,) = (each for each in read(PAGE) if each.language == "console")
    ((command, found),) = sample(block)
    shown = f"…\n{found}\n…"  # a container has something to say about .env files, too
    ended = printed(folder, command)
    here = ended.out.replace(str(folder / "secrets"), "/run/secrets").replace(
        str(folder), "/srv/shop"
    )
    assert agrees(shown, here), here
    assert not agrees(shown.replace("REDIS_UR", "REDIS_URI"), here)
    (folder / "shop" / "settings.py").write_text(DECLARED.replace("OPENAI", "OTHER"))
    assert not agrees(shown, printed(folder, command).out)
