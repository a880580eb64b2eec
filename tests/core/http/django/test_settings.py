"""The setting OUTBOUND_HTTP: allowed values, and the errors of `manage.py check` for others."""

from __future__ import annotations

import math
from typing import Any

import pytest
import responses as responses_library
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import OperationalError, connection
from django.test import override_settings
from django.utils.module_loading import import_string
from hypothesis import given
from hypothesis import strategies as st

from core import http
from core.http import Policy, process
from core.http.django import settings as outbound_settings
from core.http.django.checks import check_outbound_http
from core.http.django.json_serializer import JSONSerializer
from core.http.origin import Origin
from core.http.testing import FakeClock

URL = "https://example.org/"
JSON = "core.http.django.json_serializer.JSONSerializer"
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def problems(setting: Any) -> list[tuple[str, str]]:
    with override_settings(OUTBOUND_HTTP=setting):
        return [(problem.id.removeprefix("core.http."), problem.message) for problem in outbound_settings.problems()]


def upstreams(**entries: Any) -> dict[str, Any]:
    return {"upstreams": entries}


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"default": {}, "upstreams": {}, "shared_cache": None, "user_agent": None},
        {
            "default": {"attempt_timeout": 5, "retry_statuses": [503]},
            "upstreams": {
                "pypi": {"hosts": ["pypi.example", "files.pypi.example"], "retries": 2},
                "github": {"hosts": ["api.github.test"], "max_concurrency": 8, "requests_per_second": 2.5},
                "local-1": {"hosts": ("127.0.0.1:8000", "[::1]:8000"), "total_timeout": 20},
                "idn": {"hosts": {"b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example"}},
            },
            "user_agent": "example.org (+https://example.org/about)",
        },
        upstreams(all={"hosts": ["a.test"]}, admin={"hosts": ["a.test:8443"]}),
        upstreams(twice={"hosts": ["a.test", "A.test."]}),
    ],
)
def test_a_good_setting_has_no_problems(setting: dict[str, Any]) -> None:
    """The settings in the documentation are accepted."""
    assert problems(setting) == []


@pytest.mark.parametrize(
    ("setting", "number", "message"),
    [
        (None, "E001", "OUTBOUND_HTTP = None: must be a dictionary"),
        ([], "E001", "OUTBOUND_HTTP = []: must be a dictionary"),
        ({"upstreams": ["pypi"]}, "E001", "OUTBOUND_HTTP['upstreams'] = ['pypi']: must be a dictionary"),
        ({"defaults": {}}, "E001", "OUTBOUND_HTTP: unknown setting 'defaults'; did you mean 'default'?"),
        (
            {"x": 1},
            "E001",
            "OUTBOUND_HTTP: unknown setting 'x'; the known names are default, upstreams, shared_cache, ",
        ),
        ({"retries": 1}, "E001", "OUTBOUND_HTTP: unknown setting 'retries'; put it into OUTBOUND_HTTP['default']"),
        ({"default": 5}, "E002", "OUTBOUND_HTTP['default'] = 5: must be a dictionary"),
        ({"default": Policy()}, "E002", "OUTBOUND_HTTP['default'] is a Policy: write its fields as a dictionary"),
        ({"default": {"retry": 3}}, "E002", "OUTBOUND_HTTP['default']: unknown setting 'retry'; did you mean"),
        ({"default": {"hosts": ["a"]}}, "E002", "OUTBOUND_HTTP['default']: unknown setting 'hosts'"),
        (
            {"default": {"retries": -1}},
            "E002",
            "OUTBOUND_HTTP['default']: retries=-1: must be a whole number from 0 to 100",
        ),
        (
            {"default": {"attempt_timeout": math.nan}},
            "E002",
            "OUTBOUND_HTTP['default']: attempt_timeout=nan: must be a number of seconds above 0 to 86400",
        ),
        (
            {"default": {"max_concurrency": 0}},
            "E002",
            "OUTBOUND_HTTP['default']: max_concurrency=0: must be a whole number from 1 to 10000",
        ),
        (
            upstreams(pypi={"hosts": ["pypi.example"], "total_timeout": 5}),
            "E002",
            "OUTBOUND_HTTP['upstreams']['pypi']: attempt_timeout=10.0: must not be longer than total_timeout=5",
        ),
        (upstreams(PyPI={"hosts": ["a"]}), "E003", "OUTBOUND_HTTP['upstreams']['PyPI']: a name must be lower"),
        (upstreams(other={"hosts": ["a"]}), "E003", "OUTBOUND_HTTP['upstreams']['other']: a name must be lower"),
        ({"upstreams": {7: {"hosts": ["a"]}}}, "E003", "OUTBOUND_HTTP['upstreams'][7]: a name must be lower"),
        (
            {"default": {"classify": "os.sep"}},
            "E002",
            "OUTBOUND_HTTP['default']: classify='os.sep': must be the path of a function of status, headers and body",
        ),
        (
            upstreams(pypi={"host": "pypi.example"}),
            "E003",
            "OUTBOUND_HTTP['upstreams']['pypi']: unknown setting 'host'; did you mean 'hosts'?",
        ),
        (upstreams(pypi=["a.test"]), "E003", "OUTBOUND_HTTP['upstreams']['pypi'] = ['a.test']: must be a dictionary"),
        (upstreams(pypi={}), "E003", "OUTBOUND_HTTP['upstreams']['pypi']: 'hosts' = None: must be a list"),
        (upstreams(pypi={"hosts": []}), "E003", "OUTBOUND_HTTP['upstreams']['pypi']: 'hosts' = []: must be a list"),
        (upstreams(pypi={"hosts": "a.test"}), "E003", "OUTBOUND_HTTP['upstreams']['pypi']: 'hosts' = 'a.test': must"),
        (
            upstreams(a={"hosts": ["a.test"]}, b={"hosts": ["b.test", "A.test."]}),
            "E004",
            "OUTBOUND_HTTP['upstreams']['b']: host 'a.test' already belongs to 'a'",
        ),
        (
            upstreams(a={"hosts": ["a.test:80"]}, b={"hosts": ["A.TEST:80"]}),
            "E004",
            "OUTBOUND_HTTP['upstreams']['b']: host 'a.test:80' already belongs to 'a'",
        ),
        ({"shared_cache": 5}, "E006", "OUTBOUND_HTTP['shared_cache'] = 5: must be None or the alias of a cache"),
        ({"shared_cache": ["default"]}, "E006", "OUTBOUND_HTTP['shared_cache'] = ['default']: must be None or"),
        (
            {"shared_cache": "x"},
            "E006",
            "OUTBOUND_HTTP['shared_cache'] = 'x': must be None or the alias of a cache in CACHES: default",
        ),
        (
            {"shared_cache": "redis://:s3cret@cache.test"},
            "E006",
            "OUTBOUND_HTTP['shared_cache'] = '***@cache.test': must be None or the alias of a cache in CACHES: default",
        ),
        ({"shared_cache": "default"}, "W001", "OUTBOUND_HTTP['shared_cache'] = 'default': a LocMemCache is not shared"),
        ({"user_agent": 5}, "E005", "OUTBOUND_HTTP['user_agent'] = 5: must be one line of ASCII text"),
        ({"user_agent": ""}, "E005", "OUTBOUND_HTTP['user_agent'] = '': must be one line of ASCII text"),
        ({"user_agent": "a\r\nX: y"}, "E005", r"OUTBOUND_HTTP['user_agent'] = 'a\r\nX: y': must be one line"),
        ({"user_agent": "\N{BULLET}"}, "E005", "OUTBOUND_HTTP['user_agent'] = '\N{BULLET}': must be one line"),
    ],
)
def test_a_problem_has_the_place_the_value_and_the_allowed_values(setting: Any, number: str, message: str) -> None:
    """Each mistake has an id and a message with its place."""
    (found,) = problems(setting)
    assert found[0] == number
    assert found[1].startswith(message)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "https://pypi.example",
        "pypi.example/simple",
        "pypi.example:port",
        "pypi.example:99999",
        "a b",
        "*.pypi.example",
        ".pypi.example",
        "::1",
        "[::1",
        ":80",
        ".",
        "a?b",
        "a#b",
        "\N{BULLET}",
        5,
        None,
    ],
)
def test_an_invalid_host_is_refused(host: Any) -> None:
    """Only "host" and "host:port" are accepted."""
    ((number, message),) = problems(upstreams(pypi={"hosts": ["pypi.example", host]}))
    assert number == "E003"
    assert message.startswith(f"OUTBOUND_HTTP['upstreams']['pypi']: 'hosts' contains {host!r}: must be \"host\" or")


@pytest.mark.parametrize(
    "host", ["https://user:s3cret@pypi.example", "user:s3cret@pypi.example", "s3c@ret@pypi.example"]
)
def test_a_host_with_userinfo_is_refused_without_it(host: str) -> None:
    """The error for a URL in place of a host does not contain its password."""
    ((number, message),) = problems(upstreams(pypi={"hosts": [host]}))
    assert number == "E003"
    assert "'hosts' contains '***@pypi.example': must be" in message


def test_all_problems_are_reported_at_once() -> None:
    """One check reports all mistakes."""
    setting = {
        "default": {"retries": "3"},
        "upstreams": {"A": {}, "b": {"hosts": [1]}},
        "user_agent": 5,
        "shard": 1,
    }
    assert [number for number, _ in problems(setting)] == ["E001", "E002", "E003", "E003", "E005"]


@given(setting=st.fixed_dictionaries({}, optional=dict.fromkeys(outbound_settings._KEYS, PLAIN)) | PLAIN)
def test_no_setting_breaks_the_check(setting: Any) -> None:
    """For any value of the setting, the check reports the mistake and raises no error."""
    for number, message in problems(setting):
        assert number in {"E001", "E002", "E003", "E004", "E005", "E006"}
        assert message.startswith("OUTBOUND_HTTP")


@given(
    values=st.dictionaries(
        st.sampled_from([*{*Policy.__dataclass_fields__} - {"circuit_breaker", "retry_budget", "classify"}]),
        PLAIN,
        max_size=3,
    ),
)
def test_a_policy_in_the_settings_is_as_strict_as_in_code(values: dict[str, Any]) -> None:
    """The settings accept and refuse the same policies as Policy, with the same messages."""
    try:
        Policy(**values)
        expected = []
    except (TypeError, ValueError) as exc:
        expected = [("E002", f"OUTBOUND_HTTP['default']: {exc}")]
    assert problems({"default": values}) == expected


def test_manage_check_reports_it() -> None:
    """`manage.py check` fails on a bad setting, and names the documentation."""
    with override_settings(OUTBOUND_HTTP={"user_agent": 5}):
        (error,) = check_outbound_http()
        assert (error.id, error.hint) == ("core.http.E005", "See docs/settings.md for what OUTBOUND_HTTP may hold.")
        with pytest.raises(SystemCheckError, match=r"core\.http\.E005"):
            call_command("check", "outbound_http")
    assert check_outbound_http() == []


def test_a_call_under_a_bad_setting_says_so() -> None:
    """Without a check before, the first call raises an error for an invalid setting."""
    with (
        override_settings(OUTBOUND_HTTP={"user_agent": 5, "default": {"retries": -1}}),
        pytest.raises(ImproperlyConfigured, match=r"retries=-1.*; .*user_agent"),
    ):
        http.get(URL)


def cache(backend: str, **options: Any) -> dict[str, dict[str, Any]]:
    return {"default": {"BACKEND": f"django.core.cache.backends.{backend}", **options}}


@pytest.mark.parametrize(
    ("backends", "found"),
    [
        (cache("redis.RedisCache", LOCATION="redis://127.0.0.1:1", OPTIONS={"serializer": JSON}), []),
        (cache("redis.RedisCache", LOCATION="redis://127.0.0.1:1"), ["W002"]),
        (cache("filebased.FileBasedCache", LOCATION="cache"), ["W002"]),
        (cache("db.DatabaseCache", LOCATION="cache"), ["W002"]),
        (cache("dummy.DummyCache"), ["W001"]),
        (cache("locmem.LocMemCache"), ["W001"]),
        ({"default": {"BACKEND": "tests.core.http.django.test_settings.OwnLocMem"}}, ["W001"]),
        (cache("nothing.NothingCache"), ["E006"]),
    ],
)
def test_a_cache_that_serves_badly_is_a_warning(backends: dict[str, Any], found: list[str]) -> None:
    """A cache of one process or with pickles gives a warning; one that cannot be imported gives an error."""
    with override_settings(CACHES=backends):
        assert [number for number, _ in problems({"shared_cache": "default"})] == found


def test_a_cache_that_unpickles_gets_a_warning() -> None:
    """The warning names a serializer that exists and works with a Redis cache."""
    with override_settings(CACHES=cache("redis.RedisCache", LOCATION="redis://127.0.0.1:1")):
        ((_, text),) = problems({"shared_cache": "default"})
    assert f"'serializer': '{JSON}'" in text
    assert import_string(JSON) is JSONSerializer


@pytest.mark.parametrize(
    "value", [None, True, 5, 1.5, "x", "ü", [1.0, None], {"a": [[2.0, "b"]]}, (1.0, 2.0)], ids=repr
)
def test_json_brings_back_what_was_stored(value: object) -> None:
    """JSON values are restored, tuples as lists; integers are stored so that Redis can increment them."""
    stored = JSONSerializer().dumps(value)
    assert JSONSerializer().loads(stored) == (list(value) if isinstance(value, tuple) else value)
    assert JSONSerializer().dumps(5) == b"5"


@pytest.mark.parametrize("data", [b"", b"\x80\x05.", b"cos\nsystem\n", b"[" * 100_000, b"9" * 10_000, b"\xff"])
def test_other_values_are_returned_as_bytes(data: bytes) -> None:
    """A value that another program wrote raises no error, and is not executed."""
    assert JSONSerializer().loads(data) == data


class OwnLocMem(LocMemCache):
    """A subclass of Django's cache."""


def test_a_warning_does_not_prevent_calls() -> None:
    """With a warning, calls work with the configured cache, which is Django's cache of the calling thread."""
    with override_settings(OUTBOUND_HTTP={"shared_cache": "default"}):
        shared_cache = process.current().config.shared_cache
        assert shared_cache is not None
        shared_cache.set("a", 1, timeout=60)
        assert shared_cache.get("a") == caches["default"].get("a") == 1


class Lost(BaseCache):
    """A cache that has lost its connection."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        raise OperationalError("server closed the connection unexpectedly")


def test_a_cache_that_lost_its_database_gets_another_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that serves no requests closes its unusable database connection itself."""
    closed: list[None] = []
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: closed.append(None))
    backends = {"default": {"BACKEND": "tests.core.http.django.test_settings.Lost"}}
    with override_settings(CACHES=backends, OUTBOUND_HTTP={"shared_cache": "default"}):
        shared_cache = process.current().config.shared_cache
        assert shared_cache is not None
        with pytest.raises(OperationalError):
            shared_cache.get("a")
    assert closed == [None]


def test_an_upstream_takes_the_rest_from_the_default() -> None:
    """An upstream takes missing fields from the default, and that takes them from Policy."""
    setting = {
        "default": {"retries": 1, "backoff": 2},
        "upstreams": {"pypi": {"hosts": ["pypi.example"], "backoff": 3}},
    }
    with override_settings(OUTBOUND_HTTP=setting):
        named = process.current().upstream(Origin("https", "pypi.example", 443)).policy
        other = process.current().upstream(Origin("https", "elsewhere.test", 443)).policy
    assert named == Policy(retries=1, backoff=3)
    assert other == Policy(retries=1, backoff=2)


def test_settings_that_change_are_followed(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """override_settings changes the next call, and its end changes the one after."""
    responses.get(URL, status=503)
    with override_settings(OUTBOUND_HTTP={"default": {"backoff": 0.5, "retries": 1}}):
        http.get(URL)
    with override_settings(OUTBOUND_HTTP={"default": {"retries": 0}}):
        http.get(URL)
    http.get(URL)
    assert clock.waits == [0.5, 1, 2, 4]


def test_other_settings_change_nothing() -> None:
    """Upstreams keep their state while other settings change."""
    before = process.current()
    with override_settings(DEBUG=True):
        assert process.current() is before


def test_without_the_setting_the_defaults_hold(settings: Any) -> None:
    """A project that configures nothing gets Policy's defaults."""
    del settings.OUTBOUND_HTTP
    assert outbound_settings.problems() == []
    assert process.current().config.default == Policy()
