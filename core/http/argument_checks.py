"""Checks of arguments. An error says what was given, what is allowed and, if possible, what to write instead."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

DAY = 86_400
_PARTITION = re.compile(r"[A-Za-z0-9_.-]{0,40}")
_ELSEWHERE = {
    "allowed_methods": "retry_methods",  # urllib3
    "attempts": "retries",
    "backoff_factor": "backoff",
    "breaker": "circuit_breaker",
    "budget": "retry_budget",
    "fail_max": "failures_in_a_row",  # pybreaker
    "failure_threshold": "failures_in_a_row",
    "max_attempts": "retries",
    "max_retries": "retries",  # requests
    "rate_limit": "requests_per_second",
    "reset_timeout": "open_for",
    "status_forcelist": "retry_statuses",
    "timeout": "attempt_timeout",
    "total": "retries",
}
"""Names of options of other libraries, and the corresponding fields of `Policy`, `CircuitBreaker` and `RetryBudget`."""


def check_number(name: str, value: Any, allowed: str, low: float, high: float) -> None:
    """Raise `TypeError` or `ValueError` unless `value` is a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        instead = f": write {value.total_seconds()}" if isinstance(value, timedelta) else ""
        raise TypeError(f"{name}={value!r}: must be {allowed}{instead}")
    if not low <= value <= high:  # false for NaN too
        raise ValueError(f"{name}={shown(value)}: must be {allowed}")


def shown(value: float) -> str:
    """Return `value` as text for a message."""
    try:
        return repr(value)
    except ValueError:  # Python refuses to convert integers of more than 4,300 digits to text
        return "a number with thousands of digits"


def check_seconds(name: str, value: Any, *, zero: bool = False) -> None:
    """Raise `TypeError` or `ValueError` unless `value` is a number of seconds above 0, up to a day.

    :param zero: whether 0 is allowed too.
    """
    allowed = f"a number of seconds {'from' if zero else 'above'} 0 to {DAY}"
    check_number(name, value, allowed, 0 if zero else math.nextafter(0, 1), DAY)


def check_integer(name: str, value: Any, low: int, high: int) -> None:
    """Raise `TypeError` or `ValueError` unless `value` is a whole number from `low` to `high`."""
    allowed = f"a whole number from {low} to {high}"
    if isinstance(value, float):
        raise TypeError(f"{name}={value!r}: must be {allowed}")
    check_number(name, value, allowed, low, high)


def check_flag(name: str, value: Any) -> None:
    """Raise `TypeError` unless `value` is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: must be True or False")


def check_partition(value: Any) -> None:
    """Raise `ValueError` unless `value` is a valid name of a partition, or "" for no partition."""
    if not (isinstance(value, str) and _PARTITION.fullmatch(value)):
        # The message omits the value: a caller may have passed the credential itself.
        raise ValueError("partition= must be a name of up to 40 letters, digits, '_', '.' and '-'")


def check_function(name: str, value: Any, allowed: str) -> None:
    """Raise `TypeError` unless `value` is callable."""
    if not callable(value):
        raise TypeError(f"{name}={value!r}: must be {allowed}")


def check_part(name: str, value: Any, kind: type) -> None:
    """Raise `TypeError` unless `value` is a `kind` or None."""
    if value is None or isinstance(value, kind):
        return
    instead = f": write {call_of(kind, value)}" if isinstance(value, Mapping) else ""
    raise TypeError(f"{name}={value!r}: must be {kind.__name__}(…), or None to disable it{instead}")


def call_of(kind: type, fields: Mapping[Any, Any]) -> str:
    """Return the expression that creates a `kind` from `fields`."""
    return f"{kind.__name__}({', '.join(f'{name}={value!r}' for name, value in fields.items())})"


def hint(name: object, known: Iterable[str]) -> str:
    """Return text for a message: which of the names `known` the caller may have meant by `name`, or all of them."""
    known = tuple(known)
    meant = _ELSEWHERE.get(str(name))
    close = [meant] if meant in known else get_close_matches(str(name), known, 1)
    return f"did you mean {close[0]!r}?" if close else f"the known names are {', '.join(known)}"


class NamedFields:
    """Base of dataclasses whose fields must be passed by name. Wrong arguments raise clearer errors than Python's."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers read the arguments from the dataclass

        def __new__(cls, *values: Any, **fields: Any) -> Any:
            known = tuple(cls.__dataclass_fields__)
            if values:
                first = values[0]
                instead = call_of(cls, first if isinstance(first, Mapping) else {known[0]: first})
                raise TypeError(f"{cls.__name__}({first!r}): pass fields by name, such as {instead}")
            for name in fields:
                if name not in known:
                    raise TypeError(f"{cls.__name__} has no field {name!r}: {hint(name, known)}")
            return super().__new__(cls)
