"""The app `outbound_http`, which a site adds to INSTALLED_APPS."""

from __future__ import annotations

from types import ModuleType

import django
from django.apps import AppConfig
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from .. import multiprocess, process
from ..log import logger
from . import batch_job_metrics, metrics_settings
from . import settings as outbound_settings
from .checks import check_outbound_http

OLDEST_DJANGO = (5, 2)


class OutboundHTTPConfig(AppConfig):
    """Registers the system checks, reads the settings, and creates all metric series before the first scrape."""

    name = __package__
    label = "outbound_http"
    verbose_name = "Outbound HTTP"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        super().__init__(app_name, app_module)
        if django.VERSION[:2] < OLDEST_DJANGO:
            oldest = ".".join(map(str, OLDEST_DJANGO))
            raise ImproperlyConfigured(
                f"Django {django.get_version()} is too old for core.http: install Django>={oldest}"
            )
        # Django creates the configurations of all apps before it imports models and views, which may create metrics.
        multiprocess.take_part()

    def ready(self) -> None:
        checks.register(check_outbound_http)
        for command, every in metrics_settings.batch_jobs().items():
            batch_job_metrics.jobs().know(command, every)
        outbound_settings.configure()
        try:
            process.current()
        except ImproperlyConfigured as exc:  # `manage.py check` reports it too, and the first call raises it
            logger.error("Outbound calls will fail, because the settings are invalid: %s", exc)
