"""The errors of a request to a server. After each of them, the part keeps its stored value.

    AskError
    ├── LeftAlone       the server is down, limits our rate or refuses our token: nothing is sent for a while
    ├── Unreachable     no usable answer arrived; core.http has logged the call and its attempts
    ├── NotReady        the server is still computing the answer
    ├── NotOffered      the server does not provide this data for this package; this is not a failure
    ├── Gone            the server answered that the resource does not exist
    └── Unusable        the answer cannot be used, and another request would get the same one
        └── TokenUnwelcome  only our token is refused: a request without it may succeed

`NotModified` is not an error: the stored value is current.
"""

from __future__ import annotations

from datetime import datetime

NO_TIME = "deadline_exceeded"
"""The reason if nothing was sent because other requests had used up the time."""


class AskError(Exception):
    """A part of a package could not be fetched. The text says why, without secrets."""

    reached = True
    """Whether the server answered."""
    again = False
    """Whether another request in a few seconds may succeed."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        """A key word for the ledger. If core.http reported the failure, the same as in the metrics."""


class LeftAlone(AskError):  # noqa: N818 - named after the state, as are the classes below
    def __init__(self, message: str, reason: str, retry_at: datetime | None = None, advice: str = "") -> None:
        """Create the error.

        :param retry_at: when requests may be sent again; None: unknown.
        :param advice: what operators have to do; "": nothing, the state ends by itself.
        """
        super().__init__(message, reason)
        self.retry_at = retry_at
        self.advice = advice


class Unreachable(AskError):  # noqa: N818
    reached = False

    def __init__(self, message: str, reason: str, *, again: bool = True) -> None:
        super().__init__(message, reason)
        self.again = again


class NotReady(AskError):  # noqa: N818
    def __init__(self, message: str, reason: str = "", *, again: bool = True) -> None:
        super().__init__(message, reason)
        self.again = again


class NotOffered(AskError):  # noqa: N818
    pass


class Gone(AskError):  # noqa: N818
    pass


class Unusable(AskError):  # noqa: N818
    pass


class TokenUnwelcome(Unusable):
    pass


class NotModified(Exception):  # noqa: N818
    """The resource has not changed since the last fetch."""
