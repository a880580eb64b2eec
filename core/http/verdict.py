"""The meaning of a response, for APIs whose statuses do not express it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from .argument_checks import check_flag, check_number

MOST_BODY_BYTES = 65_536
"""Size limit of the body passed to `Policy.classify`: APIs explain an error at the start of the body."""


class Meaning(StrEnum):
    """The kinds of verdicts."""

    SUCCESS = "success"
    PERMANENT = "permanent"
    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The return value of `Policy.classify`. Create it with a class method, for example `Verdict.transient`."""

    meaning: Meaning
    """The kind of verdict."""
    seconds: float | None = None
    """Minimum number of seconds until the next attempt; None: the headers of the response determine it."""
    doubled: bool = False
    """Whether `seconds` is doubled each time that the upstream still refuses after the pause, up to an hour."""
    why: str = ""
    """The reason for the pause, for the errors of the calls that the pause rejects. It continues the words "the
    upstream", for example "limits our rate"."""

    def __post_init__(self) -> None:
        if not isinstance(self.meaning, Meaning):
            raise TypeError(f"meaning={self.meaning!r}: write Verdict.{'(), Verdict.'.join(Meaning)}()")
        if self.seconds is not None:
            check_number("seconds", self.seconds, "a number of seconds, or None", 0, sys.float_info.max)
        check_flag("doubled", self.doubled)
        if not isinstance(self.why, str):
            raise TypeError(f"why={self.why!r}: must be text")

    @classmethod
    def success(cls) -> Verdict:
        """Return the verdict that the request succeeded, whatever the status."""
        return cls(Meaning.SUCCESS)

    @classmethod
    def permanent(cls) -> Verdict:
        """Return the verdict that the same request would be refused again, and that the upstream is healthy."""
        return cls(Meaning.PERMANENT)

    @classmethod
    def transient(cls, seconds: float | None = None) -> Verdict:
        """Return the verdict that the same request may succeed later.

        :param seconds: the length of the pause before the retry; None: the headers of the response determine it. If the
            backoff of the policy is longer, the retry waits for the backoff. As after Retry-After, the rate-limit gate
            closes for the pause, so other calls wait too.
        """
        return cls(Meaning.TRANSIENT, seconds)

    @classmethod
    def rate_limited(cls, seconds: float | None = None, *, doubled: bool = False, why: str = "") -> Verdict:
        """Return the verdict that the upstream wants a pause from all requests: the rate-limit gate closes.

        The attempt has the reason `http_429`, which the circuit breaker does not count as a failure.

        :param seconds: the length of the pause; None: the headers of the response determine it. Without such headers,
            only this call is delayed.
        :param doubled: whether to double the pause each time that the upstream still refuses after it.
        :param why: the reason for the pause, for messages. It continues the words "the upstream"; default: "asked for a
            pause".
        """
        return cls(Meaning.RATE_LIMITED, seconds, doubled, why)


Classify: TypeAlias = Callable[[int, Mapping[str, str], bytes | None], Verdict | None]
"""A function of the status, the headers (case-insensitive) and the start of the body. It returns None if the status is
sufficient."""
