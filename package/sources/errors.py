"""What may come of asking a server.

    AskError            the part keeps the value it has
    ├── LeftAlone       the server is down, limits our rate or refuses our token: nothing is sent for a while
    ├── Unreachable     no usable answer came; core.http has logged the call and its attempts
    ├── NotReady        the server is working on the answer: come back later
    ├── NotOffered      the server has no such data about this package, and never will have: no failure
    ├── Gone            the server answered that it has no such thing
    └── Unusable        an answer that cannot be used, and would be the same the next time
        └── TokenUnwelcome  … with our token; without it, it may be another one

`NotModified` is no error: what is stored is what the server has.
"""

from __future__ import annotations

from datetime import datetime

NO_TIME = "deadline_exceeded"
"""The reason where nothing was sent because all the time had gone elsewhere."""


class AskError(Exception):
    """A part of a package could not be fetched; the text says why, without secrets."""

    reached = True
    """The server answered."""
    again = False
    """It is worth asking again in a few seconds."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        """One word for the ledger, as in the metrics where core.http gave it."""


class LeftAlone(AskError):  # noqa: N818 - what it says is in its name; so for those below
    def __init__(self, message: str, reason: str, retry_at: datetime | None = None, advice: str = "") -> None:
        """Make the error.

        :param retry_at: before then it is of no use to ask again; None: nobody knows.
        :param advice: what the people who run the site have to do; "": nothing, it passes.
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
    """What was asked for is as it was the last time."""
