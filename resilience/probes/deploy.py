"""What Django's own ``check --deploy`` says, under Django's own ids; sessions and rate limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import django
from django.conf import settings
from django.core import checks
from django.db.models import Model

from resilience import conf, places, redact
from resilience.findings import ID, Finding, Level
from resilience.probes import limits, middleware, sessions
from resilience.probes.base import Deadline, Probe

# On a platform these are no advice: a guessable SECRET_KEY and DEBUG pages in public.
_ERRORS_ON_PLATFORM = ("security.W009", "security.W018")


_REFERENCE = (
    "Django's system check reference explains it: https://docs.djangoproject.com/en/"
    f"{django.VERSION[0]}.{django.VERSION[1]}/ref/checks/"
)


# The areas of its ids, as that page has them.
_DJANGOS = frozenset(
    "admin async auth caches commands compatibility contenttypes csp database fields files mail "
    "models mysql postgres security sessions signals sites sqlite3 staticfiles tasks templates "
    "translation urls".split()
)
_FEW = 3  # warnings under one id that are told one by one
_UNNAMED = "deploy.unnamed"


class DjangoChecks(Probe):
    """Every unsilenced message of Django's system checks, the deployment ones included."""

    area = "deploy"
    live = False

    def run(self, deadline: Deadline) -> Iterator[Finding]:  # noqa: ARG002 - checks know no deadline
        on_platform = conf.detect_hosting().on_platform
        try:
            every = checks.run_checks(include_deployment_checks=True)
        except Exception as error:  # noqa: BLE001 - the user's urls.py and checks may raise anything
            yield _stopped(error, self.subject)
            return
        messages = [
            message
            for message in every
            # Our own static findings are in the report already, under their own areas.
            if not message.is_silenced() and not str(message.id).startswith("resilience.")
        ]
        usual = [] if self.asked_for or on_platform else _usual_with_debug(messages)
        # Django collects its checks in sets: their order changes from run to run.
        told: dict[str, list[Finding]] = {}
        for message in sorted(messages, key=lambda one: (-one.level, str(one.id), str(one))):
            if message not in usual:
                found = _finding(message, self.subject, on_platform)
                alike = told.setdefault(found.id, [])
                alike.append(found)
                if found.level is Level.ERROR or found.id == _UNNAMED or len(alike) <= _FEW:
                    yield found
        yield from _more(told, self.subject)
        if usual:
            yield _in_brief(usual, self.subject)
        if not any(message.level >= checks.WARNING for message in messages):
            yield Finding(
                "deploy.ok", Level.OK, self.subject, "Django's check --deploy has nothing to say."
            )
        yield from middleware.found()
        yield from limits.found()  # here, because the checks have just imported the URLs


def probes() -> list[Probe]:
    return [DjangoChecks("deploy"), *sessions.probes()]


def _usual_with_debug(messages: Sequence[checks.CheckMessage]) -> list[checks.CheckMessage]:
    """Django's advice for a deployment, to whom works with DEBUG on: most of it is no news."""
    if not settings.DEBUG:
        return []
    return [
        message
        for message in messages
        if message.level == checks.WARNING and re.fullmatch(r"security\.W\d+", str(message.id))
    ]


def _more(told: Mapping[str, Sequence[Finding]], subject: str) -> Iterator[Finding]:
    """How many there are under ids that a large project has dozens of."""
    for identifier, alike in told.items():
        rest = [each for each in alike[_FEW:] if each.level is not Level.ERROR]
        if rest and identifier != _UNNAMED:
            yield Finding(
                "deploy.more-like-this",
                max(each.level for each in rest),
                subject,
                f"{identifier} is said {len(rest)} times more.",
                "python manage.py check --deploy shows all.",
            )


def _in_brief(messages: Sequence[checks.CheckMessage], subject: str) -> Finding:
    names = sorted({str(message.id) for message in messages})
    return Finding(
        "deploy.debug-settings",
        Level.INFO,
        subject,
        "DEBUG is on and no platform is detected, so this is taken for a laptop: Django's advice "
        f"for a deployment is {', '.join(names)}.",
        "checkdeploy deploy shows each with its text.",
    )


def _stopped(error: Exception, subject: str) -> Finding:
    return Finding(
        "deploy.checks-failed",
        Level.ERROR,
        subject,
        f"Django's checks stop at an exception: {redact.exception(error)}",
        "Correct it: the app raises it too, at its first request (URLs and views are imported "
        "then). python manage.py check shows the whole traceback.",
        {"traceback": places.trace(error)},
        location=places.of_error(error),
    )


def _finding(message: checks.CheckMessage, subject: str, on_platform: bool) -> Finding:  # noqa: FBT001
    level = Level.ERROR if message.level >= checks.ERROR else Level.WARNING
    if message.level < checks.WARNING:
        level = Level.INFO
    if on_platform and message.id in _ERRORS_ON_PLATFORM:
        level = Level.ERROR
    text = redact.foreign(" ".join(str(message.msg).split()))
    identifier = str(message.id)
    if not ID.fullmatch(identifier):  # Django lets an app's check have any id, or none
        identifier, text = _UNNAMED, f"{message.id}: {text}" if message.id else text
    hint = redact.foreign(str(message.hint or _where_explained(identifier)))
    return Finding(identifier, level, redact.foreign(_subject(message.obj, subject)), text, hint)


def _where_explained(identifier: str) -> str:
    package = identifier.partition(".")[0]
    if package in _DJANGOS:
        return _REFERENCE
    return (
        f"It is no check of Django's: what brings {identifier} explains it. If it does not matter "
        "here, name it in SILENCED_SYSTEM_CHECKS."
    )


def _subject(obj: object, otherwise: str) -> str:
    """What Django's own message names: a model by its label, anything else as it prints itself."""
    if obj is None:
        return otherwise
    if isinstance(obj, type) and issubclass(obj, Model):
        return obj._meta.label  # noqa: SLF001 - as Django's own CheckMessage prints it
    return str(obj)
