"""`manage.py check` says what is wrong in the settings."""

from __future__ import annotations

from typing import Any

from django.core import checks

from . import settings as outbound_settings


def check_outbound_http(**_: Any) -> list[checks.CheckMessage]:
    hint = f"See docs/settings.md for what {outbound_settings.SETTING} may hold."
    return [
        (checks.Warning if problem.is_warning else checks.Error)(problem.message, hint=hint, id=problem.id)
        for problem in outbound_settings.problems()
    ]
