"""Dataclasses for objects that every call creates many times: immutable for type checkers, and fast to create.

A frozen dataclass sets each field through `object.__setattr__`, which takes three times as long as an assignment.
So these dataclasses are not frozen at run time; only type checkers report assignments. Do not change their fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True)
def value(cls: type[_Class]) -> type[_Class]:
    """Make `cls` a dataclass with slots. Its objects are compared and hashed by their fields."""
    return dataclass(slots=True, weakref_slot=True, unsafe_hash=True)(cls)
