"""What the project is given of the caller's environment and ``.env`` files."""

from __future__ import annotations

import pytest

from resilience.rehearse import request


def test_files_become_variables_and_the_environment_wins(tmp_path):
    (tmp_path / ".env").write_text("A=file\nB=file\nC=file\n")
    (tmp_path / ".env.local").write_text("B=local\n")
    made, hidden = request.environment(tmp_path, {"A": "real", "PATH": "/bin"})
    assert made == {"A": "real", "B": "local", "C": "file", "PATH": "/bin"}
    assert hidden == (".env.local", ".env")


def test_the_chosen_file_is_among_them(tmp_path):
    (tmp_path / ".env.staging").write_text("A=staging\n")
    made, hidden = request.environment(tmp_path, {"RESILIENCE_ENV": "staging"})
    assert made["A"] == "staging"
    assert ".env.staging" in hidden
    _, hidden = request.environment(tmp_path, {"RESILIENCE_ENV": "../x"})
    assert hidden == (".env.local", ".env")


def test_proxies_and_what_parents_hand_over_stay_out(tmp_path):
    given = {
        "HTTPS_PROXY": "http://p:1",
        "no_proxy": "x",
        "http_proxy": "http://p:1",
        "RESILIENCE_ENV_SIGNATURES": "[]",
        "RESILIENCE_ENV_SIGNATURES_1": "x",
    }
    assert request.environment(tmp_path, given)[0] == {"no_proxy": "x"}


def test_the_root_is_that_of_the_settings(tmp_path):
    (tmp_path / "manage.py").touch()
    (tmp_path / "shop" / "settings").mkdir(parents=True)
    (tmp_path / "shop" / "settings" / "__init__.py").touch()
    assert request.root_of("shop.settings", tmp_path) == tmp_path
    assert request.root_of("elsewhere", tmp_path) == tmp_path


def test_only_what_the_source_asks_for_counts(tmp_path):
    (tmp_path / "shop.py").write_text("import os\nKEY = os.environ['SHOP_API_KEY']\n")
    environ = {"SHOP_API_KEY": "x", "GITHUB_TOKEN": "y", "SHOP": "z"}
    assert request.mentioned(tmp_path, environ) == ("SHOP_API_KEY",)
    (tmp_path / "trace.py").write_text("LANGSMITH_TRACING\n")
    assert set(request.mentioned(tmp_path, environ)) == {"SHOP_API_KEY", "langsmith"}


@pytest.mark.parametrize(
    ("name", "value", "off"),
    [
        ("DEBUG", "true", "false"),
        ("DJANGO_DEBUG", "True", "False"),
        ("DEBUG", "ON", "OFF"),
        ("DEBUG", "1", "0"),
        ("DEBUG", "false", None),
        ("DEBUG", "django.db,shop", None),
        ("DEBUGGER", "true", None),
        ("NODEBUG", "true", None),
    ],
)
def test_what_only_a_laptop_has_on_is_off(name, value, off):
    made = {name: value, "A": "true"}
    changed, names = request.deployed(made, {})
    assert changed == {**made, name: off or value}
    assert names == ((name,) if off else ())
    assert request.deployed(made, {name: value}) == (made, ()), "the caller has said so"


@pytest.mark.parametrize("folder", ["node_modules", ".hidden", "venv"])
def test_other_peoples_source_is_not_read(tmp_path, folder):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "other.py").write_text("langsmith")
    if folder == "venv":
        (tmp_path / folder / "pyvenv.cfg").touch()
    assert request.mentioned(tmp_path, {}) == ()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "circle").symlink_to(tmp_path)
    assert request.mentioned(tmp_path, {}) == ()
    (tmp_path / "own" / "own.py").write_text("langsmith")
    assert request.mentioned(tmp_path, {}) == ("langsmith",)


def test_a_request_hides_its_variables_and_crosses_a_pipe():
    made = request.Request(
        root="/shop",
        settings="shop.settings",
        environ={"SECRET_KEY": "hunter22"},
        hidden=(".env",),
        folder="/tmp/x",
        platform="none",
        scenarios=(),
        paths=("/",),
        duration=1.0,
        mentioned=("langsmith",),
        switched=("DEBUG",),
    )
    assert "hunter22" not in repr(made)
    assert request.Request.of_json(made.to_json()) == made
    assert made.uses_langsmith
