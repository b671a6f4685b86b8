"""The status page in Django's admin: ``register(site)`` for an AdminSite of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.middleware.csrf import get_token
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST, require_safe

from resilience.models import ComponentStatus

VIEW, OPERATE = "resilience.view_componentstatus", "resilience.operate_componentstatus"
_KINDS = {"success": "ok", "warning": "warn", "error": "bad"}
_TAGS = {"ok": messages.SUCCESS, "warn": messages.WARNING, "bad": messages.ERROR}


if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[ComponentStatus]
else:
    _ModelAdmin = admin.ModelAdmin  # generic for type checkers alone


class ComponentStatusAdmin(_ModelAdmin):
    """One page instead of a list of rows, and two things to do on it."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(require_safe(self.page)), name=_name("changelist")),
            path("check/", wrap(require_POST(self.check_now)), name=_name("check")),
            path("force/", wrap(require_POST(self.force)), name=_name("force")),
        ]

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:  # noqa: ARG002
        return self._may(request, VIEW)

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:  # noqa: ARG002
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who sees the page and may press its buttons."""
        return self._may(request, VIEW) and self._may(request, OPERATE)

    def _may(self, request: HttpRequest, permission: str) -> bool:
        return bool(request.user.has_perm(permission))

    # Nothing of the page is imported before somebody opens it.

    def page(self, request: HttpRequest) -> HttpResponse:
        """The page itself."""
        from resilience.health import monitor  # noqa: PLC0415
        from resilience.page import answers  # noqa: PLC0415
        from resilience.page.panels import Notice, Operating  # noqa: PLC0415

        if not self.has_view_permission(request):
            raise PermissionDenied
        request.current_app = self.admin_site.name
        operating = None
        if self.has_operate_permission(request):
            operating = Operating(self._to("check"), self._to("force"), get_token(request))
        notices = [
            Notice(_KINDS.get(message.level_tag, "info"), str(message.message))
            for message in messages.get_messages(request)
        ]
        monitor.start()
        return answers.status_page(
            request,
            monitor.ask(),
            frame={**self.admin_site.each_context(request), "opts": self.opts},
            notices=notices,
            operating=operating,
        )

    def check_now(self, request: HttpRequest) -> HttpResponse:
        """Examine everything now, and show what came of it."""
        from resilience.health import monitor  # noqa: PLC0415

        self._operates(request)
        self._log(request, "all subjects", "Check now")
        health = monitor.check_now()
        late = sum(state.running_since is not None for state in health.subjects)
        if late:
            said = f"{late} of {len(health.subjects)} subjects are still being examined."
            return self._back(request, messages.WARNING, f"Checked, and {said}")
        return self._back(request, messages.SUCCESS, "Everything was examined just now.")

    def force(self, request: HttpRequest) -> HttpResponse:
        """Hold the breakers of a cache, or let them go, in the process that answers."""
        from resilience.page import actions  # noqa: PLC0415

        self._operates(request)
        alias, choice = request.POST.get("alias", ""), request.POST.get("state", "")
        what = actions.force_target(alias, choice)
        if what is None:
            return self._back(request, messages.ERROR, "There is no such cache or no such choice.")
        self._log(request, f"caches.{alias}", what)
        notice = actions.force(alias, choice)
        return self._back(request, _TAGS[notice.kind], notice.text)

    def _operates(self, request: HttpRequest) -> None:
        if not self.has_operate_permission(request):
            raise PermissionDenied

    def _log(self, request: HttpRequest, subject: str, what: str) -> None:
        self.log_change(request, ComponentStatus(subject=subject), what)

    def _back(self, request: HttpRequest, level: int, said: str) -> HttpResponse:
        messages.add_message(request, level, said)
        response = HttpResponseRedirect(self._to("changelist"))
        response.status_code = 303  # the page is fetched by GET, whatever the client
        return response

    def _to(self, what: str) -> str:
        return reverse(f"admin:{_name(what)}", current_app=self.admin_site.name)


def _name(what: str) -> str:
    return f"resilience_componentstatus_{what}"


def register(site: admin.AdminSite) -> None:
    """Put the status page into a site. The default site has it by itself."""
    site.register(ComponentStatus, ComponentStatusAdmin)


register(admin.site)
