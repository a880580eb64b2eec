"""Applies the tracing of `HTTPTransport.handle_request` to a call instead of to each of its attempts.

OpenTelemetry instruments httpx by wrapping that method with wrapt. In this driver, httpx's transports make the
attempts, so there would be a span for each attempt and none for the call. Mocks replace the same method but must
receive each attempt, so only wrappers made with wrapt are applied to the call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def around(owner: type, name: str, function: Callable[..., Any], transport: object) -> Callable[..., Any]:
    """Return `function`, wrapped by all wrappers of wrapt that wrap the method `name` of `owner`.

    :param owner: the class of httpx whose method is instrumented.
    :param transport: the object that the wrappers receive as the instance of the method.
    """
    method = _found(owner, name)
    if not _is_wrapped(method):
        return function
    layers = []
    while _is_wrapped(method):
        layers.append(method)
        method = method.__wrapped__
    for layer in reversed(layers):
        bound = layer.__get__(transport, type(transport))
        bound.__wrapped__ = function
        function = bound
    return function


def method_of(transport: Any, name: str) -> Any:
    """Return the method `name` of a transport without the wrappers of wrapt: see `around`."""
    method = _found(type(transport), name)
    if not _is_wrapped(method) or name in getattr(transport, "__dict__", {}):
        return getattr(transport, name)
    while _is_wrapped(method):
        method = method.__wrapped__
    return method.__get__(transport, type(transport))


def _found(owner: type, name: str) -> Any:
    if "wrapt" not in sys.modules:
        return None  # nothing is wrapped
    return next((vars(base)[name] for base in owner.__mro__ if name in vars(base)), None)


def _is_wrapped(method: object) -> bool:
    wrapt = sys.modules.get("wrapt")
    return wrapt is not None and isinstance(method, wrapt.FunctionWrapper)
