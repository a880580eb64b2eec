"""What an upstream means by an answer: for APIs whose statuses do not say."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from .arguments import check_flag, check_number

MOST_BODY_BYTES = 65_536
"""Of a body that `Policy.classify` gets: errors are explained at its beginning."""


class Meaning(StrEnum):
    """The kinds of verdicts."""

    SUCCESS = "success"
    PERMANENT = "permanent"
    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `Policy.classify` answers. Made by one of the methods named like the meanings."""

    meaning: Meaning
    """The kind of verdict."""
    seconds: float | None = None
    """When to ask again; None: as the headers say."""
    doubled: bool = False
    """`seconds` are doubled each time that the upstream still refuses when they are over; an hour at most."""
    why: str = ""
    """For people, after "the upstream": what the calls that are refused meanwhile say."""

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
        """Return the verdict that all is well, whatever the status."""
        return cls(Meaning.SUCCESS)

    @classmethod
    def permanent(cls) -> Verdict:
        """Return the verdict that the same request will be refused again, and that the upstream is well."""
        return cls(Meaning.PERMANENT)

    @classmethod
    def transient(cls, seconds: float | None = None) -> Verdict:
        """Return the verdict that the same request may succeed later: after `seconds`, or after the usual delay."""
        return cls(Meaning.TRANSIENT, seconds)

    @classmethod
    def rate_limited(cls, seconds: float | None = None, *, doubled: bool = False, why: str = "") -> Verdict:
        """Return the verdict that no request is wanted for a while: the gate closes.

        :param seconds: for how long; None: as the headers say; if they do not, only this call is delayed.
        :param doubled: for twice as long each time that the upstream still refuses afterwards.
        :param why: a predicate for people: "asked to be left alone" by default.
        """
        return cls(Meaning.RATE_LIMITED, seconds, doubled, why)


Classify: TypeAlias = Callable[[int, Mapping[str, str], bytes | None], Verdict | None]
"""Status, headers (compared without case), the body as far as it was read; returns None where the status says it."""
