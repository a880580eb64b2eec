"""The attributes of `core.http.requests` and its `web`: the names of requests, with resilient functions and session."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import requests

from .. import api
from ..adapter import ResilientAdapter
from ..session import ResilientSession

_FUNCTIONS = ("request", "get", "options", "head", "post", "put", "patch", "delete")
# From requests.api, because tests replace the functions of requests itself, maybe while this module is imported.
_ORIGINALS = {name: getattr(requests.api, name) for name in _FUNCTIONS}
_SESSION = requests.sessions.Session


class Facade:
    """Looks up each name when it is used, so that a function that a test has replaced since the import is found."""

    def __init__(self, session: type[ResilientSession], adapter: ResilientAdapter | None = None) -> None:
        """Prepare the names.

        :param session: the class that replaces `requests.Session`.
        :param adapter: the adapter that the functions use; default: the adapter of `core.http.get`.
        """
        self._session = session
        functions = {name: getattr(api, name) for name in _FUNCTIONS}
        if adapter is not None:
            functions = {name: partial(function, _adapter=adapter) for name, function in functions.items()}
        self._functions = functions

    def get(self, name: str) -> Any:
        """Return the attribute `name`. Used as the `__getattr__` of a module.

        :raises AttributeError: if requests has no attribute `name`.
        """
        theirs = getattr(requests, name)
        if name in self._functions:
            is_replaced = _is_other(theirs, _ORIGINALS[name]) or _functions_call_replacement()
            return theirs if is_replaced else self._functions[name]
        if name == "Session":
            return theirs if _is_other(theirs, _SESSION) else self._session
        if name == "session":  # a function that calls requests.sessions.Session
            return theirs if _is_other(requests.sessions.Session, _SESSION) else self._session
        return theirs

    def names(self) -> list[str]:
        """Return the names of requests. Used as the `__dir__` of a module."""
        return dir(requests)


def _is_other(found: Any, original: Any) -> bool:
    return inspect.unwrap(found) is not original


def _functions_call_replacement() -> bool:
    """Return whether a function or class that all functions of requests call has been replaced."""
    return _is_other(requests.api.request, _ORIGINALS["request"]) or _is_other(requests.sessions.Session, _SESSION)
