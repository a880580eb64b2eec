"""The Django settings of /metrics: `METRICS_TOKENS` and `BATCH_JOBS`."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from .settings import Problem

TOKENS = "METRICS_TOKENS"
JOBS = "BATCH_JOBS"


def tokens() -> list[str]:
    """Return the tokens that give access to /metrics; an empty list if the setting is invalid.

    A string is invalid, because each of its characters would be a token. Empty tokens are omitted, because they would
    match a request with an empty token.
    """
    configured = getattr(settings, TOKENS, ())
    return [token for token in configured if token] if _is_tokens(configured) else []


def batch_jobs() -> dict[str, float | None]:
    """Return for each command the seconds within which a run must succeed, or None. Invalid entries are omitted."""
    configured = getattr(settings, JOBS, {})
    if not isinstance(configured, Mapping):
        return {}
    return {command: every for command, every in configured.items() if _is_job(command, every)}


def problems() -> list[Problem]:
    """Return the problems of both settings."""
    found = []
    if not _is_tokens(getattr(settings, TOKENS, ())):  # the message omits the value, which is secret
        found.append(Problem("core.http.E007", f"{TOKENS}: must be a list of strings", TOKENS))
    jobs = getattr(settings, JOBS, {})
    if not isinstance(jobs, Mapping):
        found.append(Problem("core.http.E008", f"{JOBS} = {jobs!r}: must be a dictionary", JOBS))
    else:
        found += [
            Problem("core.http.E008", f"{JOBS}[{command!r}] = {every!r}: must be seconds, more than 0, or None", JOBS)
            for command, every in jobs.items()
            if not _is_job(command, every)
        ]
    return found


def _is_tokens(value: object) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(isinstance(token, str) for token in value)


def _is_job(command: object, every: object) -> bool:
    is_number = isinstance(every, int | float) and not isinstance(every, bool) and every > 0
    return isinstance(command, str) and (every is None or is_number)
