"""Dataclasses for what is made many times in every call: immutable to type checkers, and cheap to make.

A frozen dataclass sets each field through `object.__setattr__`, which takes three times as long as an assignment.
So nothing but type checkers forbids to change a value: don't.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True)
def value(cls: type[_Class]) -> type[_Class]:
    """Make `cls` a dataclass with slots that compares and hashes by its fields."""
    return dataclass(slots=True, weakref_slot=True, unsafe_hash=True)(cls)
