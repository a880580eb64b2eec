"""The settings of the site, read in an environment of the test."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
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


def settings_with(**environment: str) -> dict[str, Any]:
    """Read the settings in this environment."""
    with patch.dict(os.environ, {**MINIMAL, **environment}):
        return runpy.run_path(str(ROOT / "config" / "settings.py"))
