"""Refuses a second copy of this folder in one process, because both would register the same metrics."""

from __future__ import annotations

import sys
from types import ModuleType

_KEY = "_outbound_http_copy"
"""Key in `sys.modules`, which all copies share, whatever their names."""


def refuse_second_copy(package: ModuleType) -> None:
    """Record `package` as the copy of this process. Raises `ImportError` if the process has imported another copy."""
    first = sys.modules.setdefault(_KEY, package)
    here, there = next(iter(package.__path__)), next(iter(first.__path__))
    if (package.__name__, here) != (first.__name__, there):  # one folder under two names is imported twice as well
        raise ImportError(
            f"{package.__name__} ({here}) is a second copy of {first.__name__} ({there}). "
            f"A process can use one of them: import {first.__name__} everywhere, or remove it."
        )
    sys.modules[_KEY] = package  # the same copy may be imported again, as when tests empty `sys.modules`


refuse_second_copy(sys.modules[__package__ or ""])
