"""Masks secrets in the texts of errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from .error_chain import chain

_E = TypeVar("_E", bound=BaseException)
_SHORTEST = 3  # characters; to mask shorter texts would damage words and hide nothing
MASK = "***"


def url(value: str) -> str:
    """Return a URL, which may be invalid, with its userinfo, query and fragment masked."""
    head, *rest = re.split(r"[?#]", value, maxsplit=1)
    before, at, after = head.rpartition("@")
    if at:
        scheme, slashes, _ = before.partition("//")
        head = f"{scheme}{slashes}{MASK}@{after}" if slashes else f"{MASK}@{after}"
    return f"{head}?{MASK}" if rest else head


def url_in(exc: _E, secret: str) -> _E:
    """Mask secrets of the URL `secret` in the texts of `exc` and of all errors that it wraps. Returns `exc`."""
    masks = {written: url(written) for written in (secret, repr(secret)[1:-1])}
    return error(_replaced(exc, masks), _userinfo_of(secret))


def quoted(*values: object) -> set[str]:
    """Return `values` as they appear in the text of an error that quotes them with `repr`."""
    texts = [value for value in values if isinstance(value, str | bytes)]
    return {repr(value).lstrip("b")[1:-1] for value in texts} - {""}


def secrets_of(*urls: str | None, headers: Iterable[str] = ()) -> set[str]:
    """Return the secrets in these URLs (userinfo, query, fragment) and the values of these headers."""
    found: set[str] = set(headers)
    for each in urls:
        found |= _userinfo_of(each or "")
        try:
            parts = urlsplit(each or "")
        except ValueError:
            continue
        found.add(parts.query)
        if parts.fragment:
            found.add(f"#{parts.fragment}")  # with "#", to mask it in URLs only: test tools' messages quote its parts
    found |= {unquote(secret) for secret in found}
    return {secret for secret in found if len(secret) >= _SHORTEST}


def _userinfo_of(value: str) -> set[str]:
    """Return the userinfo of a URL, and the parts of the userinfo.

    If the URL cannot be parsed, the reason may be a "/", "?" or "#" in a password. Then everything up to the last "@"
    counts as userinfo.
    """
    try:
        parts = urlsplit(value)
        _ = parts.port
        userinfo = parts.netloc.rpartition("@")[0]
    except ValueError:
        userinfo = value.partition("//")[2].rpartition("@")[0]
    return {part for part in (userinfo, *re.split(r"[:/?#\\]", userinfo)) if len(part) >= _SHORTEST}


def error(exc: _E, secrets: set[str], handled: BaseException | None = None) -> _E:
    """Mask `secrets` in the texts of `exc` and of all exceptions that it wraps, in place. Returns `exc`.

    :param handled: an exception that the caller is handling, which is not changed: see `error_chain.chain`.
    """
    return _replaced(exc, dict.fromkeys(sorted(secrets, key=len, reverse=True), MASK), handled)


def _replaced(exc: _E, masks: Mapping[str, str], handled: BaseException | None = None) -> _E:
    for link in chain(exc, handled):
        link.args = tuple(_masked(arg, masks) for arg in link.args)
        for name, value in list(vars(link).items()):
            if isinstance(value, str):
                setattr(link, name, _masked(value, masks))
    return exc


def _masked(value: object, masks: Mapping[str, str]) -> object:
    if not isinstance(value, str):
        return value
    for secret, mask in masks.items():
        value = value.replace(secret, mask)
    return value
