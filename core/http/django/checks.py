"""The system check of the settings OUTBOUND_HTTP, METRICS_TOKENS and BATCH_JOBS, for `manage.py check`."""

from __future__ import annotations

from typing import Any

from django.core import checks

from . import metrics_settings
from . import settings as outbound_settings


def check_outbound_http(**_: Any) -> list[checks.CheckMessage]:
    problems = (*outbound_settings.problems(), *metrics_settings.problems())
    return [
        (checks.Warning if problem.is_warning else checks.Error)(problem.message, hint=problem.hint, id=problem.id)
        for problem in problems
    ]
