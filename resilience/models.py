"""The entry of the status page among the models of the admin. It has no table."""

from __future__ import annotations

from django.db import models


class _NoRows(models.Manager["ComponentStatus"]):
    """Whoever goes through all models (``dumpdata``) finds nothing, and asks no table for it."""

    def get_queryset(self) -> models.QuerySet[ComponentStatus]:
        return super().get_queryset().none()


class ComponentStatus(models.Model):
    """Carries the permissions to see the page and to operate what it shows. Never saved."""

    subject = models.CharField(max_length=200, primary_key=True)

    objects = _NoRows()

    class Meta:
        managed = False
        verbose_name = "Component status"
        verbose_name_plural = "Component status"
        base_manager_name = "objects"
        default_permissions = ("view",)
        permissions = (("operate_componentstatus", "Can operate Component status"),)

    def __str__(self) -> str:
        return self.subject
