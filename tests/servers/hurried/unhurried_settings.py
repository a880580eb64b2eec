"""The site's own settings and times, with requests that are marked with their fetch."""

from config.settings import *  # noqa: F403 - the environment shapes them

INSTALLED_APPS = [*INSTALLED_APPS, "tests.servers.hurried.apps.MarkedConfig"]  # noqa: F405 - of the import above
