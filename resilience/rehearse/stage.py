"""Everything that one scenario owns: servers, files and ports, gone when the block ends."""

from __future__ import annotations

import json
import os
import secrets
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from resilience.rehearse import addresses
from resilience.rehearse.confinement import Confinement
from resilience.rehearse.databases import Databases
from resilience.rehearse.platforms import PLATFORMS
from resilience.rehearse.redis_service import RedisService
from resilience.rehearse.request import Request
from resilience.rehearse.survey import Survey
from resilience.simulation.fake_langsmith import FakeLangSmith
from resilience.simulation.fake_openai import FakeOpenAI
from resilience.simulation.fake_smtp import FakeSmtp
from resilience.simulation.name_server import SilentNameServer
from resilience.simulation.program import HOST, free_port

_LANGSMITH = ("LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT")
_OPENAI = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
KEYS = {"LANGSMITH_API_KEY": "lsv2_pt_rehearsal", "OPENAI_API_KEY": "sk-rehearsal"}


class Stage:
    """Redis behind a proxy, LangSmith, OpenAI, mail, a database, and the child's environment.

    A scenario changes ``redis``, ``langsmith``, ``environ``, ``without_authorities``, the names and
    the address of Redis before the first child starts, and ``redis`` also afterwards.
    """

    def __init__(
        self, request: Request, survey: Survey, databases: Databases, confined: Confinement
    ) -> None:
        self.request, self.survey = request, survey
        self.confined = confined
        self.folder = Path(request.folder)
        self.redis = RedisService(self.folder, tls=survey.tls)
        self.langsmith = FakeLangSmith(KEYS["LANGSMITH_API_KEY"], tls=self._tls(_LANGSMITH))
        self.openai = FakeOpenAI(KEYS["OPENAI_API_KEY"], tls=self._tls(_OPENAI))
        self.mail = FakeSmtp()
        self.token = secrets.token_urlsafe(24)
        self.port = 0
        self._hangs = False
        self.without_authorities = False
        self.redis_address: dict[str, Any] = {}
        self.environ: dict[str, str] = {}
        self._databases = databases
        self._database: Mapping[str, Any] = {}
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as held:
            self.folder = Path(
                held.enter_context(tempfile.TemporaryDirectory(prefix="stage-", dir=self.folder))
            )
            self.folder.chmod(0o755)
            self.redis = held.enter_context(RedisService(self.folder, tls=self.redis.tls))
            for service in (self.langsmith, self.openai, self.mail):
                held.enter_context(service)
            self._database = self._databases.fresh(self.folder, self.confined.user)
            self.port = free_port()
            self.redis_address = self.redis.address()
            self.environ = self._environ()
            self._held = held.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    @property
    def mentioned(self) -> tuple[str, ...]:
        """The variables that the project's source asks for."""
        return self.request.mentioned

    @property
    def props(self) -> str:
        """What played the services, as part of a sentence."""
        redis = "a redis-server" if self.redis.is_real else "a fake Redis (no redis-server on PATH)"
        fakes = {"LangSmith": self.langsmith.tls, "OpenAI": self.openai.tls}
        secured = " and ".join(name for name, tls in fakes.items() if tls is not None)
        sights = self.confined.sights
        why = " (trustme is not installed)" if sights and sights.authority is None else ""
        return f"with {redis}, {f'https to {secured}' if secured else f'no https to any fake{why}'}"

    def move_redis(self, **changes: str) -> None:
        """Give the project another address of Redis: ``host``, ``scheme``."""
        self.redis_address |= changes
        self.environ = self._environ()

    def hang_names(self) -> None:
        """Have every question for a name wait, in libc too if that asks a name server of ours."""
        self._hangs = True
        if self.confined.sights is not None:
            self._held.enter_context(SilentNameServer())

    # ── what the children are told ──────────────────────────────────────────────────────────────

    @property
    def events(self) -> Path:
        """Where children say what was denied and what views raised."""
        return self.folder / "events"

    def answer(self, name: str) -> Path:
        """Where the child of this name says what it has to say."""
        return self.folder / f"{name}.answer"

    def orders(self, name: str, *, serves: bool) -> Path:
        """Write what a child is to do, and return the file. No secret of the user's is in it."""
        request, platform = self.request, PLATFORMS[self.request.platform]
        uid, gid = self.confined.user or (None, None)
        sights = self.confined.sights
        told = {
            "parent": os.getpid(),
            "serves": serves,
            "answer": str(self.answer(name)),
            "events": str(self.events),
            "folder": str(self.folder),
            "root": request.root,
            "hidden": request.hidden,
            "isolated": self.confined.isolated,
            "ports": self.ports(),
            "view": sights and sights.view(without_authorities=self.without_authorities).to_json(),
            # What the view does not do, Python does by itself.
            "hangs": self._hangs and sights is None,
            "asks": self._hangs and sights is not None,
            "blind": self.without_authorities and sights is None,
            "redis": self.redis_address,
            "database": self._databases.url(self._database),
            "databases": self._database,
            "mail": self.mail.port,
            "token": self.token,
            "constraints": {
                "memory": platform.memory,
                "files": platform.files,
                "uid": uid,
                "gid": gid,
                "powerless": self.confined.powerless,
            },
        }
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(told), encoding="utf-8")
        self.answer(name).write_bytes(b"")
        self.events.touch()
        for written in (self.answer(name), self.events):
            written.chmod(0o666)  # by whoever the child is
        return file

    def ports(self) -> list[int]:
        """Those that a child may reach."""
        services = (self.redis, self.langsmith, self.openai, self.mail)
        ports = [each.port for each in services]
        return [self.port, *ports, *self._databases.ports()]

    def _tls(self, variables: tuple[str, ...]) -> ssl.SSLContext | None:
        """For a service that the project speaks https to, which is the default of both."""
        sights, given = self.confined.sights, self.request.environ
        address = next(filter(None, (given.get(name) for name in variables)), "https:")
        if sights is None or sights.authority is None or not address.lower().startswith("https:"):
            return None
        return sights.authority.server_context("localhost", HOST)

    # ── environment ─────────────────────────────────────────────────────────────────────────────

    def _environ(self) -> dict[str, str]:
        request = self.request
        told: dict[str, Any] = {
            "redis": self.redis_address,
            "database": self._databases.url(self._database),
            "mail": self.mail.port,
        }
        made = {name: addresses.replaced(value, told) for name, value in request.environ.items()}
        # What such a platform offers to a service that asks for it.
        made.setdefault("REDIS_URL", addresses.redis("redis://stage/0", self.redis_address))
        if addresses.ENGINE not in told["database"]:
            made.setdefault("DATABASE_URL", told["database"])
        if not made["REDIS_URL"]:
            made["REDIS_URL"] = addresses.redis("redis://stage/0", self.redis_address)
        made |= {"OPENAI_API_KEY": KEYS["OPENAI_API_KEY"], "OPENAI_BASE_URL": self.openai.base_url}
        for name in [name for name in made if name.startswith(("LANGSMITH_", "LANGCHAIN_"))]:
            del made[name]
        if request.uses_langsmith:
            made |= {
                "LANGSMITH_TRACING": "true",
                "LANGSMITH_ENDPOINT": self.langsmith.url,
                "LANGSMITH_API_KEY": KEYS["LANGSMITH_API_KEY"],
            }
        made |= PLATFORMS[request.platform].variables
        made |= {
            "DJANGO_SETTINGS_MODULE": request.settings,
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return made
