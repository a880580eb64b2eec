"""The errors of a request to a server. After each of them, the stored value of the part remains.

    AskError
    ├── LeftAlone       nothing is sent for some time: the server is down, limits our rate or refuses our token
    ├── Unreachable     no usable response arrived; core.http has logged the call and its attempts
    ├── NotReady        the server is still computing the data; or the owner does not accept our token, and the server
    │                   refuses requests without it for now
    ├── NotOffered      the server does not provide this data for this package; this is not a failure
    ├── Gone            the server says that the resource does not exist
    └── Unusable        the response cannot be used, and another request would get the same response
        └── TokenUnwelcome  only our token is refused; a request without it may succeed

`NotModified` is not an error: the stored value is current.
"""

from __future__ import annotations

from datetime import datetime

NO_TIME = "deadline_exceeded"
"""The reason of an error if nothing was sent because other requests had used up the time."""


class AskError(Exception):
    """A part of a package could not be fetched. The text says why, without secrets."""

    reached = True
    """False: a request was sent, and it got no response, or one that core.http counts as a failure, such as 503."""
    again = False
    """Whether another request a few seconds later may succeed."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        """A key word for the source status. If core.http reported the failure, it is the reason in the metrics."""


class LeftAlone(AskError):
    def __init__(self, message: str, reason: str, retry_at: datetime | None = None, advice: str = "") -> None:
        """Create the error.

        :param retry_at: when requests may be sent again; None: unknown.
        :param advice: what operators must do; "": nothing, because the pause ends without their help.
        """
        super().__init__(message, reason)
        self.retry_at = retry_at
        self.advice = advice


class Unreachable(AskError):
    reached = False

    def __init__(self, message: str, reason: str, *, again: bool = True) -> None:
        super().__init__(message, reason)
        self.again = again


class NotReady(AskError):
    def __init__(self, message: str, reason: str = "", *, again: bool = True) -> None:
        super().__init__(message, reason)
        self.again = again


class NotOffered(AskError):
    pass


class Gone(AskError):
    pass


class Unusable(AskError):
    pass


class TokenUnwelcome(Unusable):
    pass


class NotModified(Exception):
    """The resource has not changed since the last fetch."""
