"""What traces `HTTPTransport.handle_request` is put around a call, and not around each of its attempts.

OpenTelemetry instruments httpx by wrapping that method with wrapt. The transports of httpx make the attempts here, so
their spans would be those of attempts, and a call would have none. Mocks replace the same method and have to see each
attempt, so they stay where they are: only what wrapt has wrapped is moved.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def around(owner: type, name: str, function: Callable[..., Any], transport: object) -> Callable[..., Any]:
    """Return `function` within all that wrapt has put around the method `name` of `owner`; itself if that is nothing.

    :param owner: the class of httpx whose method is instrumented.
    :param transport: what the wrappers are told to be the object of the method.
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
    """Return the method `name` of a transport without what wrapt has put around it: see `around`."""
    method = _found(type(transport), name)
    if not _is_wrapped(method) or name in getattr(transport, "__dict__", {}):
        return getattr(transport, name)
    while _is_wrapped(method):
        method = method.__wrapped__
    return method.__get__(transport, type(transport))


def _found(owner: type, name: str) -> Any:
    return next((vars(base)[name] for base in owner.__mro__ if name in vars(base)), None)


def _is_wrapped(method: object) -> bool:
    wrapt = sys.modules.get("wrapt")
    return wrapt is not None and isinstance(method, wrapt.FunctionWrapper)
