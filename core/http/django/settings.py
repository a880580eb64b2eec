"""Reads and checks the Django setting `OUTBOUND_HTTP`, and creates the registry from it.

    OUTBOUND_HTTP = {
        "default": {"attempt_timeout": 10},                        # any field of Policy
        "upstreams": {
            "pypi": {"hosts": ["pypi.example"], "retries": 3},     # "host" or "host:port", and fields of Policy
        },
        "shared_cache": "default",                                 # an alias in CACHES, the same in all processes
        "user_agent": "example.org (+https://example.org/about)",
    }

An upstream takes the fields that it does not set from "default". "default" takes them from the defaults of `Policy`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache import InvalidCacheBackendError, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from .. import process, registry
from ..argument_checks import hint
from ..events import OTHER
from ..origin import canonical_host
from ..policy import CircuitBreaker, Policy, RetryBudget
from ..shared.cache import Cache
from .json_serializer import JSONSerializer
from .shared_cache import SharedCache, unpickles

SETTING = "OUTBOUND_HTTP"
_KEYS = ("default", "upstreams", "shared_cache", "user_agent")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_PARTS: dict[str, type[CircuitBreaker | RetryBudget]] = {
    "circuit_breaker": CircuitBreaker,
    "retry_budget": RetryBudget,
}
_POLICY_FIELDS = tuple(field.name for field in fields(Policy))


@dataclass(frozen=True)
class Problem:
    """A problem of a setting. `id` is the id of the system check."""

    id: str
    message: str
    setting: str = SETTING

    @property
    def hint(self) -> str:
        return f"See docs/settings.md for what {self.setting} may hold."

    @property
    def is_warning(self) -> bool:
        """Whether calls still work despite the problem."""
        return self.id.startswith("core.http.W")


def configure() -> None:
    """Make the process create its registry from the setting, also after each change of the setting."""
    process.use(_registry_from_settings)
    setting_changed.connect(_on_setting_changed, dispatch_uid="core.http.settings")


def problems() -> list[Problem]:
    """Return the problems of the setting."""
    return _Reader(getattr(settings, SETTING, {})).problems


def _registry_from_settings() -> process.ProcessRegistry:
    reader = _Reader(getattr(settings, SETTING, {}))
    errors = [problem.message for problem in reader.problems if not problem.is_warning]
    if errors:
        raise ImproperlyConfigured("; ".join(errors))
    return process.ProcessRegistry(reader.config)


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    if setting == SETTING:
        process.use(_registry_from_settings)


class _Reader:
    """Reads the setting into a `Config`, and collects all problems instead of stopping at the first one."""

    def __init__(self, value: Any) -> None:
        self.problems: list[Problem] = []
        setting = self._mapping("E001", SETTING, value)
        self._unknown("E001", SETTING, setting, _KEYS)
        default = self._policy(f"{SETTING}['default']", Policy(), setting.get("default", {}))
        upstreams: dict[str, Policy] = {}
        hosts: dict[str, str] = {}
        for name, entry in self._mapping("E001", f"{SETTING}['upstreams']", setting.get("upstreams", {})).items():
            where = f"{SETTING}['upstreams'][{name!r}]"
            if not isinstance(name, str) or not _NAME.fullmatch(name) or name == OTHER:
                self._wrong("E003", f"{where}: a name must be lower-case letters, digits, _ and -, and not 'other'")
                continue
            if not isinstance(entry, Mapping):
                self._mapping("E003", where, entry)
                continue
            values = dict(entry)
            if "host" in values:
                self._wrong("E003", f"{where}: unknown setting 'host'; did you mean 'hosts'?")
                continue
            for host in self._hosts(where, values.pop("hosts", None)):
                if hosts.setdefault(host, name) != name:
                    self._wrong("E004", f"{where}: host {host!r} already belongs to {hosts[host]!r}")
            upstreams[name] = self._policy(where, default, values)
        user_agent = self._user_agent(setting.get("user_agent"))
        self.config = registry.Config(default, upstreams, hosts, user_agent, self._cache(setting.get("shared_cache")))

    def _wrong(self, number: str, message: str) -> None:
        self.problems.append(Problem(f"core.http.{number}", message))

    def _mapping(self, number: str, where: str, value: Any) -> Mapping[Any, Any]:
        if isinstance(value, Mapping):
            return value
        if isinstance(value, Policy):
            self._wrong(number, f"{where} is a Policy: write its fields as a dictionary, such as {{'retries': 3}}")
        else:
            self._wrong(number, f"{where} = {value!r}: must be a dictionary")
        return {}

    def _unknown(self, number: str, where: str, values: Mapping[Any, Any], known: tuple[str, ...]) -> None:
        for key in values:
            if key in known:
                continue
            is_misplaced = known is _KEYS and key in _POLICY_FIELDS
            told = f"put it into {SETTING}['default']" if is_misplaced else hint(key, known)
            self._wrong(number, f"{where}: unknown setting {key!r}; {told}")

    def _policy(self, where: str, base: Policy, values: Any) -> Policy:
        values = self._mapping("E002", where, values)
        self._unknown("E002", where, values, _POLICY_FIELDS)
        try:
            given = {name: _part(name, values[name]) for name in _POLICY_FIELDS if name in values}
            return replace(base, **given)
        except (TypeError, ValueError) as exc:
            self._wrong("E002", f"{where}: {exc}")
            return base

    def _hosts(self, where: str, value: Any) -> Iterator[str]:
        if not isinstance(value, list | tuple | set | frozenset) or not value:
            self._wrong("E003", f'{where}: \'hosts\' = {value!r}: must be a list of "host" or "host:port"')
            return
        for host in value:
            try:
                yield _canonical(host)
            except ValueError:
                shown = re.sub(r".*@", "***@", host) if isinstance(host, str) else host  # a URL may have a password
                allowed = '"host" or "host:port", without scheme, path or wildcard'
                self._wrong("E003", f"{where}: 'hosts' contains {shown!r}: must be {allowed}")

    def _user_agent(self, value: Any) -> str | None:
        if value is None or (isinstance(value, str) and value and value.isascii() and value.isprintable()):
            return value
        self._wrong("E005", f"{SETTING}['user_agent'] = {value!r}: must be one line of ASCII text")
        return None

    def _cache(self, alias: Any) -> Cache | None:
        if alias is None:
            return None
        given = re.sub(r".*@", "***@", alias) if isinstance(alias, str) else alias  # a URL may have a password
        where = f"{SETTING}['shared_cache'] = {given!r}"
        if not isinstance(alias, str) or alias not in caches.settings:
            known = ", ".join(caches.settings)
            self._wrong("E006", f"{where}: must be None or the alias of a cache in CACHES: {known}")
            return None
        try:
            cache = caches[alias]
        except (InvalidCacheBackendError, ImportError) as exc:
            self._wrong("E006", f"{where}: {exc}")
            return None
        if isinstance(cache, LocMemCache | DummyCache):
            self._wrong("W001", f"{where}: a {type(cache).__name__} is not shared with other processes")
        elif unpickles(alias):
            self._wrong(
                "W002",
                f"{where}: a {type(cache).__name__} unpickles the values that it reads, so anyone who can write to the "
                f"cache can run code in this process; use a RedisCache with OPTIONS={{'serializer': "
                f"'{JSONSerializer.__module__}.{JSONSerializer.__name__}'}}",
            )
        return SharedCache(alias)


def _part(name: str, value: Any) -> Any:
    """Convert a value of the setting for `Policy`: a dictionary to a settings object, a dotted path to a function.

    Raises the errors of `CircuitBreaker` and `RetryBudget`, and `ValueError` for unknown fields and for a path that
    cannot be imported.
    """
    if name == "classify" and isinstance(value, str):
        try:
            found = import_string(value)
        except ImportError as exc:
            raise ValueError(f"classify={value!r}: cannot be imported: {exc}") from exc
        if not callable(found):
            raise ValueError(f"classify={value!r}: must be the path of a function of status, headers and body")
        return found
    kind = _PARTS.get(name)
    if kind is None or not isinstance(value, Mapping):
        return value
    known = [part.name for part in fields(kind)]
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ValueError(f"{name} has no field {unknown[0]!r}; {hint(unknown[0], known)}")
    return kind(**value)


def _canonical(host: Any) -> str:
    """Return `host`, which is "host" or "host:port", in the form of `Config.hosts`.

    Raises `ValueError` if it has another form.
    """
    if not isinstance(host, str) or re.search(r"^\.|[\s/@?#\\*]", host):
        raise ValueError(host)
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError(host)
    name = canonical_host(parts.hostname)
    return name if parts.port is None else f"{name}:{parts.port}"
