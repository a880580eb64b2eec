"""The app `outbound_http`: what a site adds to INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from ..log import logger


class OutboundHTTPConfig(AppConfig):
    """Reads the settings, and creates every series before the first scrape."""

    name = __package__
    label = "outbound_http"
    verbose_name = "Outbound HTTP"

    def ready(self) -> None:
        from .. import process  # noqa: PLC0415 - makes metrics
        from . import batch_job_metrics  # noqa: PLC0415 - as above
        from . import settings as outbound_settings  # noqa: PLC0415 - as above
        from .checks import check_outbound_http  # noqa: PLC0415 - needs the settings

        checks.register(check_outbound_http)
        for command, every in getattr(settings, "BATCH_JOBS", {}).items():
            batch_job_metrics.jobs().know(command, every)
        outbound_settings.configure()
        try:
            process.current()
        except ImproperlyConfigured as exc:  # `manage.py check` says so as well, and the first call raises it
            logger.error("Outbound calls will fail: %s", exc)
