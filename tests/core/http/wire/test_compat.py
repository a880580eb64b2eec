"""urllib3-future replaces urllib3 by something that looks like it."""

from __future__ import annotations

import importlib

import pytest
import urllib3

from core.http.wire import connections


def test_urllib3_future_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import says what is in the way and what to do."""
    monkeypatch.setattr(urllib3, "__version__", "2.13.905")
    with pytest.raises(ImportError, match="Uninstall urllib3-future and reinstall urllib3"):
        importlib.reload(connections)
    monkeypatch.undo()
    importlib.reload(connections)
