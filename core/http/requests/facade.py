"""What a module answers that offers requests' names with the resilient ones in place."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import requests

from .. import api
from ..adapter import ResilientAdapter
from ..session import ResilientSession

_FUNCTIONS = ("request", "get", "options", "head", "post", "put", "patch", "delete")
# As requests.api has them: those of requests itself are what tests replace, maybe while this is imported.
_ORIGINALS = {name: getattr(requests.api, name) for name in _FUNCTIONS}
_SESSION = requests.sessions.Session


class Facade:
    """Looks every name up when it is used, as a caller of requests does, and so finds what tests replace meanwhile."""

    def __init__(self, session: type[ResilientSession], adapter: ResilientAdapter | None = None) -> None:
        """Prepare the names. `adapter`: what the functions send with; default: that of `core.http.get` and its kin."""
        self._session = session
        functions = {name: getattr(api, name) for name in _FUNCTIONS}
        if adapter is not None:
            functions = {name: partial(function, _adapter=adapter) for name, function in functions.items()}
        self._functions = functions

    def get(self, name: str) -> Any:
        """Return what `name` stands for: a module's `__getattr__`. Raises `AttributeError` as requests does."""
        theirs = getattr(requests, name)
        if name in self._functions:
            is_replaced = _is_other(theirs, _ORIGINALS[name]) or _ends_elsewhere()
            return theirs if is_replaced else self._functions[name]
        if name == "Session":
            return theirs if _is_other(theirs, _SESSION) else self._session
        if name == "session":  # a function that calls requests.sessions.Session
            return theirs if _is_other(requests.sessions.Session, _SESSION) else self._session
        return theirs

    def names(self) -> list[str]:
        """List the names: a module's `__dir__`."""
        return dir(requests)


def _is_other(found: Any, original: Any) -> bool:
    return inspect.unwrap(found) is not original


def _ends_elsewhere() -> bool:
    """Return whether the functions of requests, though not replaced themselves, call something that was."""
    return _is_other(requests.api.request, _ORIGINALS["request"]) or _is_other(requests.sessions.Session, _SESSION)
