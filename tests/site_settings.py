"""The settings of the site, read in an environment of the test."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
# Empty rather than absent: a .env in the working copy fills only what is absent.
UNSET = {
    "ALLOWED_HOSTS": "",
    "CACHE_URL": "",
    "DATABASE_URL": "sqlite://:memory:",
    "DEBUG": "false",
    "METRICS_TOKENS": "",
}
MINIMAL = {**UNSET, "PYPI_URL": "https://pypi.org", "SECRET_KEY": "secret"}


SETTINGS = ROOT / "config" / "settings.py"


@cache
def _code() -> CodeType:
    return compile(SETTINGS.read_text(encoding="utf-8"), SETTINGS, "exec")


def settings_with(**environment: str) -> dict[str, Any]:
    """Read the settings in this environment."""
    settings: dict[str, Any] = {"__name__": "settings", "__file__": str(SETTINGS)}
    with patch.dict(os.environ, {**MINIMAL, **environment}):
        exec(_code(), settings)
    return settings
