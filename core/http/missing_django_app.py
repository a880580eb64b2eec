"""Warns a Django site whose setting OUTBOUND_HTTP is not read, because the app that reads it is not installed.

This module does not import Django, because most users of the library do not have it. In a process that uses Django, the
modules of Django are already loaded.
"""

from __future__ import annotations

import sys

from .log import logger

_SETTING = "OUTBOUND_HTTP"


def warn() -> None:
    """Log a warning if Django is set up and has the setting. Call this before the default settings are used."""
    django_apps, django_conf = sys.modules.get("django.apps"), sys.modules.get("django.conf")
    if django_apps is None or django_conf is None or not django_apps.apps.ready:
        return  # until the apps are ready, our app may still read the setting
    if django_conf.settings.configured and hasattr(django_conf.settings, _SETTING):
        text = '%s is not read, so all upstreams use the defaults: add "%s.django" to INSTALLED_APPS'
        logger.warning(text, _SETTING, __package__)
