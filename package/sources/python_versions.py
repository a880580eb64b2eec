"""Which versions of Python a project's requires_python allows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from package.sources.fields import BadField

_WILDCARDS = ((re.compile(r"([<>]=?\s*[\d.]*\d)\.?\*"), r"\1"), (re.compile(r"([!=]=\s*[\d.]*\d)\*"), r"\1.*"))
"""What old releases have, though it is no specifier, and how it was meant: ">=3.5.*" and "!=3.3*"."""
_MINORS = range(100)
_LATE = 99
"""A patch level later than all that a specifier names."""


def specifiers_in(required: str) -> SpecifierSet:
    """Read a requires_python. Raises `BadField` where it is none."""
    meant = required
    for pattern, replacement in _WILDCARDS:
        meant = pattern.sub(replacement, meant)
    try:
        specifiers = SpecifierSet(meant)
        for specifier in specifiers:
            _version(specifier)  # "===" takes any text
    except (InvalidSpecifier, InvalidVersion):
        raise BadField("is not a version specifier") from None
    return specifiers


def allows_python3(required: str) -> bool:
    """Say whether some version of Python 3 satisfies `required`, be it a single patch level. Raises `BadField`."""
    specifiers = specifiers_in(required)
    return any(version in specifiers for version in _versions(specifiers))


def _versions(specifiers: SpecifierSet) -> Iterator[str]:
    """Generate versions of Python 3, of which one satisfies `specifiers` if any version does."""
    for minor in _MINORS:
        yield from (f"3.{minor}", f"3.{minor}.{_LATE}")
    for specifier in specifiers:  # a range begins at a version that is named, or right after it
        named = _version(specifier)
        if named.major == 3:
            yield from (str(named), f"3.{named.minor}.{named.micro + 1}")


def _version(specifier: Specifier) -> Version:
    return Version(specifier.version.removesuffix(".*"))
