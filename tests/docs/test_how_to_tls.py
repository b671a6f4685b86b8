"""Private authorities and proxies as the how-to page has them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trustme

from resilience.simulation.authority import Authority
from resilience.simulation.redis_server import RedisServer
from tests.docs.guides import Guide, following
from tests.tls.pki import ConnectProxy, Web

PAGE = "docs/how-to/proxies-and-private-cas.md"
PAGES = (PAGE,)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """With the name that the page has."""
    ours = Authority()
    ours._ca = trustme.CA(organization_unit_name="Our root")
    return ours


def test_private_authorities_and_proxies(shop, tmp_path: Path, authority):
    closed = ConnectProxy(lambda _: ("", 0), status="407 Proxy Authentication Required")
    store = tmp_path / "store"
    store.mkdir()
    authority.write_ca(store / "our-root.pem")
    with RedisServer(tmp_path, tls=authority) as server, closed as proxy:
        here = {"6393": str(server.port), "6395": str(proxy.port), "/etc/ssl": str(store)}
        with following(PAGE, shop, tmp_path / "project", here=here) as guide:
            authority.write_ca(guide.folder / "our-root.pem")
            untrusted, trusted, bundle, refused = guide.of("console")
            variable, proxied = guide.of("sh")
            (setting,) = guide.of("python")
            guide.follow(untrusted, trusted, setting)
            question = f"python manage.py checkredis rediss://127.0.0.1:{server.port}/0"
            assert "PASS" in guide.type(question), "by the setting"
            guide.follow(variable, bundle)
            assert authority.ca_pem in (guide.folder / "all.pem").read_bytes()
            guide.follow(proxied, refused)
            assert proxy.asked[0].startswith("CONNECT api.example.com:443 ")


def test_a_proxy_that_lets_one_through__twin(shop, tmp_path: Path, authority):
    """And a host that ``NO_PROXY`` names is asked without it."""
    context = authority.server_context("api.example.com", "localhost")
    root = authority.write_ca(tmp_path / "our-root.pem")
    with Web(tls=context) as web, ConnectProxy(lambda _: web.address) as proxy:
        here = {"proxy.example.com:3128": f"127.0.0.1:{proxy.port}"}
        variables = {"TLS_CA_BUNDLE": str(root)}
        folder = tmp_path / "project"
        shutil.copytree(shop, folder)
        with Guide(PAGE, folder, here, variables) as guide:
            guide.follow(guide.of("sh")[1])
            said = guide.type("python manage.py checktls https://api.example.com")
            assert "PASS" in said, said
            before = len(proxy.asked)
            assert before
            said = guide.type(f"python manage.py checktls https://localhost:{web.port}")
            assert "PASS" in said, said
            assert len(proxy.asked) == before
