"""Fixtures of the engine's tests."""

from __future__ import annotations

import pytest

from core.http.engine import call as call_module
from tests.core.http.engine.outage import Today


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be NOW, where the engine looks at the calendar."""
    monkeypatch.setattr(call_module, "datetime", Today)
