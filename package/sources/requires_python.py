"""Evaluates requires_python, the version specifiers of a project."""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from package.sources.fields import BadField

_WILDCARDS = ((re.compile(r"([<>]=?\s*[\d.]*\d)\.?\*"), r"\1"), (re.compile(r"([!=]=\s*[\d.]*\d)\*"), r"\1.*"))
"""Patterns of invalid specifiers of old releases, such as ">=3.5.*" and "!=3.3*", and their valid equivalents."""
_MINORS = range(100)
_LATE = 99
"""A patch level that is higher than those in specifiers."""


def specifiers_in(required: str) -> SpecifierSet:
    """Parse `required`. Raises `BadField` if it is invalid."""
    meant = required
    for pattern, replacement in _WILDCARDS:
        meant = pattern.sub(replacement, meant)
    try:
        specifiers = SpecifierSet(meant)
        for specifier in specifiers:
            _version(specifier)  # "===" accepts any text, so check its version
    except (InvalidSpecifier, InvalidVersion):
        raise BadField("is not a version specifier") from None
    return specifiers


def allows_python3(required: str) -> bool:
    """Return whether at least one version of Python 3 satisfies `required`. Raises `BadField` if it is invalid."""
    specifiers = specifiers_in(required)
    return any(version in specifiers for version in _versions(specifiers))


def _versions(specifiers: SpecifierSet) -> Iterator[str]:
    """Yield versions of Python 3. If any version satisfies `specifiers`, at least one of these does."""
    for minor in _MINORS:
        yield from (f"3.{minor}", f"3.{minor}.{_LATE}")
    for specifier in specifiers:  # a range begins at the version in a specifier, or right after it
        named = _version(specifier)
        if named.major == 3:
            yield from (str(named), f"3.{named.minor}.{named.micro + 1}")


def _version(specifier: Specifier) -> Version:
    return Version(specifier.version.removesuffix(".*"))
