"""Processes that share a cache."""

from __future__ import annotations

import pytest

from tests.core.http.shared.fleet import Fleet


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()
