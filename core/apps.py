import logging

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured


class CoreConfig(AppConfig):
    name = "core"

    def ready(self) -> None:
        from core import batch  # noqa: PLC0415 - makes metrics
        from core.checks import check_outbound_http  # noqa: PLC0415 - needs the settings
        from core.http import conf, registry  # noqa: PLC0415 - as above

        checks.register(check_outbound_http)
        for command, every in getattr(settings, "BATCH_JOBS", {}).items():
            batch.jobs().know(command, every)
        conf.configure()
        try:
            registry.current()  # so that every series is there before the first scrape
        except ImproperlyConfigured as exc:  # `manage.py check` says so as well, and the first call raises it
            logging.getLogger(__name__).error("Outbound calls will fail: %s", exc)  # noqa: TRY400 - the text says it all
