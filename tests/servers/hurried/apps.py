import os
from datetime import timedelta

from django.apps import AppConfig


class MarkedConfig(AppConfig):
    """Marks requests, and leaves the times of the site as they are."""

    name = "tests.servers.hurried"

    def ready(self) -> None:
        from tests.servers.hurried import marking  # noqa: PLC0415 - Django has to be set up first

        marking.mark_fetches()


class HurriedConfig(AppConfig):
    name = "tests.servers.hurried"
    default = True

    def ready(self) -> None:
        """Shorten times that tests cannot wait for. As with the real ones, each is longer than the one before.

        Time of a fetch < soft limit < hard limit < lease < when a message is sent again < when the broker does.
        """
        from package.jobs import fetching  # noqa: PLC0415 - Django has to be set up first

        fetching.LONGEST = 2.0  # before others take it from there
        from package import tasks  # noqa: PLC0415 - as above
        from package.jobs import claims, crash_isolation, dispatch, run  # noqa: PLC0415 - as above
        from tests.servers.hurried import marking  # noqa: PLC0415 - as above

        assert tasks.LONGEST == run.LONGEST == fetching.LONGEST
        tasks.Patient.retry_backoff_max = 4  # before Celery makes tasks of them
        tasks.fetch.soft_time_limit, tasks.fetch.time_limit = 3, 4
        claims.LEASE = timedelta(seconds=6)
        dispatch.RESEND = timedelta(seconds=8)
        tasks._FIRST_PAUSE, tasks._LONGEST_PAUSE = timedelta(seconds=0.3), timedelta(seconds=2)
        crash_isolation.TOO_MANY = int(os.environ.get("TOO_MANY_DEATHS", crash_isolation.TOO_MANY))
        marking.mark_fetches()
