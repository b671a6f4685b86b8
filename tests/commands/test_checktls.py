"""``manage.py checktls``: configured servers, or any; the bundle; bad words; time."""

from __future__ import annotations

import ssl
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from resilience.simulation.network import BlackHole
from resilience.tls import stores
from tests.processes import Ended, doctor, manage, run, write_project
from tests.servers import redis_server
from tests.simulation.conftest import authority  # noqa: F401 - the fixture
from tests.tls.pki import ROOT, Web, leaf

NOTHING = dict.fromkeys(stores.READERS)


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with Web(leaf()) as web:
        yield web


@pytest.fixture
def root(tmp_path) -> str:
    path = tmp_path / "root.pem"
    path.write_text(ROOT.pem)
    return str(path)


def checked(*arguments: str, **variables: str | None) -> Ended:
    return manage("checktls", *arguments, "--format", "json", **variables)


def test_a_server_that_is_not_configured_and_the_hint_that_helps(server, root):
    where = f"https://localhost:{server.port}"
    before = checked(where)
    assert (before.code, before.roots) == (
        1,
        [("tls.untrusted-root", f"tls.localhost:{server.port}")],
    )
    assert "TLS_CA_BUNDLE=/path/root.pem" in before.find("tls.untrusted-root")["hint"]
    after = checked(where, TLS_CA_BUNDLE=root)
    assert (after.code, after.roots) == (0, [])
    assert after.find("tls.stores-disagree")["facts"]["store_requests"] == "tls.untrusted-root"


def test_the_bundle_is_what_the_other_libraries_need(server, root, tmp_path):
    where, bundle = f"https://localhost:{server.port}", tmp_path / "all.pem"
    written = checked(where, "--write-bundle", str(bundle), TLS_CA_BUNDLE=root)
    assert f"certificates are in {bundle}" in written.err
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o644
    assert {each.name for each in tmp_path.iterdir()} == {"root.pem", "all.pem"}
    context = ssl.create_default_context(cafile=str(bundle))
    assert context.cert_store_stats()["x509"] > 100
    everywhere = {"SSL_CERT_FILE": str(bundle), "REQUESTS_CA_BUNDLE": str(bundle)}
    followed = checked(where, **everywhere)
    assert (followed.code, followed.ids) == (0, {"tls.ok"})


def test_a_bundle_that_cannot_be_written(tmp_path):
    ended = checked("--write-bundle", str(tmp_path / "none" / "all.pem"))
    assert (ended.code, ended.out) == (2, "")
    assert "No such file or directory" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_what_is_configured(tmp_path, authority, root):  # noqa: F811
    with redis_server(directory=tmp_path, tls=authority) as redis:
        url = f"rediss://localhost:{redis.port}/0"
        before = checked(REDIS_URL=url)
        assert before.roots == [("tls.untrusted-root", f"tls.localhost:{redis.port}")]
        both = manage("checkdeploy", "redis", "tls", "--format", "json", REDIS_URL=url)
        assert [id for id, _ in both.roots] == ["tls.untrusted-root"], "one fault, one root cause"
        ca = str(authority.write_ca(tmp_path / "ca.pem"))
        after = checked(REDIS_URL=url, TLS_CA_BUNDLE=ca)
        assert (after.code, after.ids) == (0, {"tls.ok"})
        cache = manage("checkdeploy", "cache", "--format", "json", REDIS_URL=url, TLS_CA_BUNDLE=ca)
        assert "cache.ok" in cache.ids, "the cache's own connections have that trust"


def test_a_store_that_points_nowhere_is_the_root_cause(server):
    ended = checked(f"https://localhost:{server.port}", SSL_CERT_FILE="/nowhere/ca.pem")
    assert ended.roots == [("tls.bundle-missing", "tls.SSL_CERT_FILE")]
    assert ended.find("tls.untrusted-root")["cause"]["subject"] == "tls.SSL_CERT_FILE"


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("http://localhost", "without TLS: write https://"),
        ("localhost:99999", "port"),
        ("https://:geheim@", "names no host"),
        ("ho st", "neither a host name"),
    ],
)
def test_a_word_that_is_no_server_is_usage_even_without_settings(argument, words, tmp_path):
    project = write_project(tmp_path, "raise RuntimeError('settings')")
    ended = doctor(project, "checktls", argument)
    assert ended.code == 2
    assert words in ended.err
    assert "geheim" not in ended.err
    assert "Traceback" not in ended.err


def test_a_wrong_setting_is_named_and_verification_stays(server, tmp_path):
    tls = {"INSECURE": {f"localhost:{server.port}": {"reason": "none"}}}
    project = write_project(
        tmp_path,
        f"SECRET_KEY = 'x' * 60\nINSTALLED_APPS = ['resilience']\nRESILIENCE = {{'TLS': {tls!r}}}",
    )
    ended = doctor(project, "checktls", f"localhost:{server.port}", "--format", "json")
    assert {"conf.invalid", "tls.untrusted-root"} <= ended.ids


def test_ten_servers_of_which_three_are_black_holes(root):
    with ExitStack() as stack:
        ports = [stack.enter_context(Web(leaf())).port for _ in range(7)]
        ports += [stack.enter_context(BlackHole()).port for _ in range(3)]
        words = [f"https://localhost:{port}" for port in ports]
        ended = checked(*words, TLS_CA_BUNDLE=root)
    assert sorted(id for id, _ in ended.roots) == ["tcp.timeout"] * 3
    assert ended.report["duration_ms"] < 2500
    assert sum(each["id"] == "tls.ok" for each in ended.report["findings"]) == 8


def test_without_django_settings_a_variable_is_enough(server, root):
    """As ``python -m resilience``, as in an image that is being looked into."""
    variables = {"DJANGO_SETTINGS_MODULE": "tests.settings", "TLS_CA_BUNDLE": root}
    command = (sys.executable, "-m", "resilience", "checktls", f"localhost:{server.port}")
    ended = run(*command, variables=variables)
    assert ended.code == 0, ended.out + ended.err
    assert "localhost <- Our Root" in " ".join(ended.out.split())


def test_the_area_of_redis_has_the_same_trust(tmp_path, authority):  # noqa: F811
    """Our backend's connections have it; what is examined is what the cache uses."""
    with redis_server(directory=tmp_path, tls=authority) as redis:
        url = f"rediss://localhost:{redis.port}/0"
        ca = str(authority.write_ca(tmp_path / "ca.pem"))
        fine = manage("checkdeploy", "--format", "json", REDIS_URL=url, TLS_CA_BUNDLE=ca)
        assert {"redis.ok", "cache.ok", "tls.ok"} <= fine.ids
        assert fine.roots == []
        named = manage("checkredis", url, "--format", "json", TLS_CA_BUNDLE=ca)
        assert "redis.ok" in named.ids
        alone = manage("checkredis", url, "--format", "json")
        assert [id for id, _ in alone.roots] == ["tls.untrusted-root"]
