"""The site's own settings, in a hurry."""

from datetime import timedelta

from config.settings import *  # noqa: F403 - the environment shapes them

INSTALLED_APPS = [*INSTALLED_APPS, "tests.servers.hurried"]  # noqa: F405 - of the import above

CELERY_BROKER_TRANSPORT_OPTIONS = {**CELERY_BROKER_TRANSPORT_OPTIONS, "visibility_timeout": 12}  # noqa: F405 - of the import above
CELERY_BEAT_SCHEDULE = {
    "plan": {**CELERY_BEAT_SCHEDULE["plan"], "schedule": timedelta(seconds=2), "options": {"expires": 2}}  # noqa: F405 - of the import above
}
