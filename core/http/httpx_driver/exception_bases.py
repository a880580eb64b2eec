"""Common bases of the errors of `core.http.httpx` and `core.http.httpx2`, which can be copied without credentials.

The docstrings of these modules show the trees of their errors, which also derive from classes of their library.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from .. import errors
from . import compat

if TYPE_CHECKING:
    from typing import Self


class Own:
    """Base of all errors of this driver.

    Pickle and copy keep type, text, attempts, method and URL, but not the headers of the request, which may contain
    credentials.
    """

    client: Any
    """The module httpx or httpx2."""

    def __reduce__(self) -> tuple[Any, ...]:
        request = compat.request_of(self)
        asked = None if request is None else (request.method, str(request.url))
        error: Any = self
        kept = {name: value for name, value in vars(self).items() if name not in {"_request", "response"}}
        return _restored, (type(self), error.args[0], asked, kept)


def _restored(kind: Any, text: str, asked: tuple[str, str] | None, kept: dict[str, Any]) -> Any:
    error = kind.__new__(kind, text)
    kind.client.HTTPError.__init__(error, text)
    vars(error).update(kept)
    if asked is not None:
        error.request = kind.client.Request(*asked)
    if isinstance(error, NotSent):
        error.answer()
    return error


class NotSent(Own, errors.NotSent):
    """Base of CircuitOpen and RateLimited.

    These errors have a response with status 503 or 429, created by `answer`, so that code that handles such responses
    of a server handles these errors too.
    """

    status: int
    response: Any
    _retry_after: int

    def __init__(self, message: str, retry_at: datetime, *, request: Any = None) -> None:
        # Not super(): ConnectError would pass the arguments on to HTTPStatusError, which has different parameters.
        self.client.HTTPError.__init__(self, message)
        self.retry_at = retry_at
        if request is not None:
            self.request = request
        self._retry_after = max(math.ceil((retry_at - datetime.now(UTC)).total_seconds()), 1)

    def answer(self) -> Self:
        """Set `response` to a response like one that an upstream would send. Returns the error.

        To be called after the error has passed code that traces the call, which would record this response as one of
        the server.
        """
        headers = {"Retry-After": str(self._retry_after), "Content-Length": "0"}
        extensions = {"reason_phrase": HTTPStatus(self.status).phrase.encode()}
        request = compat.request_of(self)
        self.response = self.client.Response(
            self.status, headers=headers, content=b"", request=request, extensions=extensions
        )
        return self


class CircuitOpen(NotSent, errors.CircuitOpen):
    status = 503


class RateLimited(NotSent, errors.RateLimited):
    status = 429


class AttemptTimeout(Own, errors.AttemptTimeout):
    pass


class DeadlineExceeded(Own, errors.DeadlineExceeded):
    pass


class BlockedAddress(Own, errors.BlockedAddress):
    pass


class ResponseTooLarge(Own, errors.ResponseTooLarge):
    pass
