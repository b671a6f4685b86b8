"""One run: survey, database, then each scenario on a stage of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from resilience import redact
from resilience.findings import Fact, Finding, Level
from resilience.rehearse import confinement, diagnosis, verdict
from resilience.rehearse.answers import Answer
from resilience.rehearse.children import Server, command, edge
from resilience.rehearse.databases import Databases, Nowhere, Postgres, Sqlite
from resilience.rehearse.load import Load, Measured
from resilience.rehearse.request import Request
from resilience.rehearse.scenario import RedisScenario, Scenario
from resilience.rehearse.scenarios import HEALTHY, chosen
from resilience.rehearse.stage import Stage
from resilience.rehearse.survey import Survey
from resilience.rehearse.verdict import AREA, Played, Standard
from resilience.simulation.postgres_server import postgres_server
from resilience.simulation.program import HOST

_POSTGRESQL = ("postgresql", "postgis")
_BOOT_LIMIT = 20.0  # seconds until the first answer
_DOUBTFUL_LIMIT = 5.0  # the same, where the survey has found that it does not start
_MIGRATE_LIMIT = 120.0
_SURVEY_LIMIT = _BOOT_LIMIT  # what takes longer to start does not boot either

Tell = Callable[[dict[str, Any]], None]


class Run:
    """Plays what a request asks for; ``tell`` is given progress and findings."""

    def __init__(self, request: Request, tell: Tell, *, isolated: bool) -> None:
        self._request, self._tell = request, tell
        self._confined = confinement.found(request, isolated=isolated)
        self._survey = Survey()
        self._standard = Standard(self._survey)
        self._databases: Databases = Sqlite(Path(request.folder))
        self._held = ExitStack()
        self._denied: dict[str, None] = {}
        self._redis_asked = 0
        self._dead = False
        self._props = ""
        for name, value in request.environ.items():
            if redact.is_secret_name(name):
                redact.register(value)

    def play(self) -> None:
        """All of it. What cannot be played is told as skipped, with the reason."""
        with self._held:
            self._play()

    def _play(self) -> None:
        self._progress("looking at the project")
        self._look()
        self._progress("migrating a throw-away database")
        problem = self._migrate()
        if problem:
            self._find(problem)
            return
        scenarios = chosen(self._request.scenarios)
        for number, scenario in enumerate(scenarios, 1):
            if self._dead:
                self._find(_skipped(scenario, "the project does not boot without any fault either"))
                continue
            self._progress(f"{number}/{len(scenarios)} {scenario.name}: {scenario.fault}")
            for finding in self._one(scenario):
                self._find(finding)
        self._summarise(scenarios)

    # ── before ──────────────────────────────────────────────────────────────────────────────────

    def _stage(self, survey: Survey, databases: Databases | None = None) -> Stage:
        return Stage(self._request, survey, databases or self._databases, self._confined)

    def _look(self) -> None:
        """What the project is made of. One that does not start is played all the same."""
        with self._stage(Survey(), Nowhere()) as stage:
            stage.move_redis(scheme="")  # as the user's own
            answer = command(stage, "survey", "survey", seconds=_SURVEY_LIMIT)
        root = self._request.settings.partition(".")[0]
        if answer.said:
            survey = Survey.read(answer.said)
        else:
            self._progress(f"the project {answer.problem}")
            survey = Survey(answer.problem, f"{root}.wsgi.application", servers=("gunicorn",))
        self._survey = survey
        self._standard = Standard(survey)

    def _migrate(self) -> Finding | None:
        """Make the databases that every stage gets a copy of, on PostgreSQL if it takes that."""
        aliases = list(self._survey.databases)
        if self._survey.problem or not aliases:
            return None
        failed = self._migrated(aliases)
        engine = self._survey.databases.get(failed.alias, "") if failed else ""
        if failed and failed.may_be_the_engine and engine.rpartition(".")[2] in _POSTGRESQL:
            self._progress("starting a throw-away PostgreSQL: SQLite does not do")
            try:
                server = self._held.enter_context(postgres_server(Path(self._request.folder)))
            except (RuntimeError, OSError):
                return _no_database(failed, engine, " and no PostgreSQL starts here")
            self._databases = Postgres(server, aliases)
            failed = self._migrated(aliases)
        return _no_database(failed, engine) if failed else None

    def _migrated(self, aliases: list[str]) -> _Failed | None:
        """Run every migration; the first alias that fails, None if none does."""
        with self._stage(self._survey) as stage:
            for alias in aliases:
                words = ("migrate", "--no-input", "--verbosity", "0", "--database", alias)
                answer = command(stage, "migrate", "django", *words, seconds=_MIGRATE_LIMIT)
                if answer.said is None:
                    return _Failed(alias, answer)
            self._databases.keep()
        return None

    # ── one scenario ────────────────────────────────────────────────────────────────────────────

    def _one(self, scenario: Scenario) -> list[Finding]:
        began = time.monotonic()
        with self._stage(self._survey) as stage:
            reason = scenario.unfit(self._survey, stage)
            if reason:
                return [_skipped(scenario, reason)]
            before = dict(stage.environ)
            scenario.arrange(stage)
            gone = [name for name in before if name not in stage.environ]
            missing = gone[0] if scenario.name == "missing-secret" and gone else ""
            limit = _DOUBTFUL_LIMIT if self._survey.problem else _BOOT_LIMIT
            with Server(stage, limit=limit) as server:
                measured, page = Measured(), ""
                if server.boot_ms is not None:
                    with Load((HOST, stage.port), self._request.paths, edge(stage)) as load:
                        scenario.during(stage, self._request.duration)
                    measured = load.measured()
                    if scenario is HEALTHY:
                        self._redis_asked = stage.redis.asked
                    page = diagnosis.status_page(stage, scenario.expects)
                said = diagnosis.checkdeploy(stage)
                tail = server.tail
            if scenario is HEALTHY:
                audit = diagnosis.checkdeploy(stage, "audit")
                self._dead = server.boot_ms is None
                self._props = stage.props
                self._standard = Standard(
                    self._survey,
                    frozenset(each.key for each in said.roots()),
                    audit.said,
                )
            played = Played(
                scenario,
                server.boot_ms,
                limit,
                measured,
                said,
                page,
                tuple(self._events(stage)),
                missing,
                tail,
                time.monotonic() - began,
            )
        found = verdict.judge(played, self._standard)
        if scenario is HEALTHY:
            self._standard = replace(self._standard, measured=measured)
        return [*found, *(verdict.of_standing(said) if scenario is HEALTHY else [])]

    def _events(self, stage: Stage) -> list[dict[str, Any]]:
        """What views raised; what was denied is kept for the end."""
        if not stage.events.exists():
            return []
        lines = stage.events.read_text(encoding="utf-8").splitlines()
        events: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self._denied |= dict.fromkeys(each["name"] for each in events if each["kind"] == "denied")
        return [each for each in events if each["kind"] == "error"]

    # ── after ───────────────────────────────────────────────────────────────────────────────────

    def _summarise(self, scenarios: list[Scenario]) -> None:
        how = "a network namespace" if self._confined.isolated else "a hook in Python"
        denied = ", ".join(self._denied)
        said = f"Asked for, denied by {how}, and not reached: {denied}."
        if not denied:
            said = f"Nothing outside the rehearsal was asked for; {how} would have denied it."
        facts: dict[str, Fact] = {"denied": len(self._denied)}
        self._find(
            Finding("rehearse.denied", Level.INFO, f"{AREA}.network", said, facts=facts, area=AREA)
        )
        self._find(self._conditions())
        of_redis = any(isinstance(each, RedisScenario) for each in scenarios)
        if of_redis and self._survey.caches and not self._redis_asked:
            self._find(
                Finding(
                    "rehearse.idle",
                    Level.INFO,
                    f"{AREA}.load",
                    f"None of the requests to {', '.join(self._request.paths)} used Redis.",
                    "Give --path a page that does.",
                    area=AREA,
                )
            )

    def _conditions(self) -> Finding:
        """What this system allowed, and what it did not."""
        confined, request = self._confined, self._request
        said = [f"The project ran {confined.who}", self._props]
        if confined.sights is None:
            said.append("DNS and the CA store were broken for Python alone: no mounts of one's own")
        if request.switched:
            names = ", ".join(request.switched)
            said.append(f"{names} of .env is for this machine, and was switched off")
        return Finding(
            "rehearse.conditions",
            Level.INFO,
            f"{AREA}.system",
            "; ".join(filter(None, said)) + ".",
            facts={
                "isolated": confined.isolated,
                "mounts": confined.sights is not None,
                "nobody": confined.user is not None,
            },
            area=AREA,
        )

    def _progress(self, text: str) -> None:
        self._tell({"progress": text})

    def _find(self, finding: Finding) -> None:
        names = "id subject summary hint location skipped area duration_ms".split()
        told = {name: getattr(finding, name) for name in names}
        self._tell({"finding": {**told, "level": int(finding.level), "facts": dict(finding.facts)}})


def _skipped(scenario: Scenario, reason: str) -> Finding:
    return Finding(
        "rehearse.skipped",
        Level.INFO,
        verdict.subject(scenario),
        f"{scenario.fault}: not played, because {reason}.",
        skipped=True,
        area=AREA,
    )


class _Failed(NamedTuple):
    """The alias whose migrations fail, and how."""

    alias: str
    answer: Answer

    @property
    def may_be_the_engine(self) -> bool:
        """Whether Django has ended, and said so: another engine may do."""
        return not self.answer.place and self.answer.waited is None and self.answer.code > 0


def _no_database(failed: _Failed, engine: str, more: str = "") -> Finding:
    said = f"The migrations ({engine}) fail on a throw-away database{more}"
    hint = (
        "Have them work on SQLite, or on an empty PostgreSQL whose server programs (Debian: "
        "postgresql) are installed here."
    )
    if not failed.may_be_the_engine:
        said = f"migrate, on a throw-away database, {failed.answer.problem}"
        hint = "Run manage.py migrate on an empty database of your own, and see what it does there."
    return Finding(
        "rehearse.no-database",
        Level.ERROR,
        f"{AREA}.databases.{failed.alias}",
        f"{said}; so nothing was played.",
        hint,
        area=AREA,
    )
