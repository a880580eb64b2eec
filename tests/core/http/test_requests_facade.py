"""core.http.requests: one import line adopts a file, its mocks included."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import requests as plain
import responses as responses_library

from core import http
from core.http import WEB_REQUEST, ResilientSession
from core.http import requests as facade
from core.http.requests import web
from core.http.testing import FakeClock

ROOT = Path(__file__).parents[3]
URL = "https://example.org/"
FUNCTIONS = ["get", "options", "head", "post", "put", "patch", "delete"]


@pytest.fixture(params=[facade, web], ids=["facade", "web"])
def requests(request: pytest.FixtureRequest) -> ModuleType:
    """Return the module that a file has under the name `requests`."""
    module: ModuleType = request.param
    return module


def test_the_import_yields_the_facade_in_a_fresh_process() -> None:
    """`from core.http import requests` gives the facade, whatever was imported before."""
    program = """
        from core.http import requests
        import requests as plain
        from core import http
        assert requests is not plain
        assert requests.get is http.get is not plain.get
        assert requests.Session is http.ResilientSession
        assert requests.Response is plain.Response
        """
    run = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", FUNCTIONS)
def test_every_function_is_resilient(
    requests: ModuleType, method: str, responses: responses_library.RequestsMock, clock: FakeClock
) -> None:
    """A 503 is tried again for the methods that may be sent twice."""
    responses.add(method.upper(), URL, status=503)
    responses.add(method.upper(), URL, status=404)
    expected = 503 if method in {"post", "patch"} else 404
    assert getattr(requests, method)(URL).status_code == expected


def test_sessions_are_resilient(requests: ModuleType) -> None:
    """`Session` and the old `session()` make sessions of ours, and a class of one's own may be derived."""
    assert isinstance(requests.Session(), ResilientSession)
    assert isinstance(requests.session(), ResilientSession)
    assert issubclass(requests.Session, plain.Session)
    assert type("Mine", (requests.Session,), {})().get_adapter(URL).send


def test_all_other_names_are_requests_own(requests: ModuleType) -> None:
    """Exceptions, codes, classes, submodules, private names and the version are the same objects."""
    ours = {*FUNCTIONS, "request", "Session", "session"}
    names = {name for name in dir(plain) if name not in ours and not (name.startswith("__") and name != "__version__")}
    assert {"exceptions", "codes", "Response", "adapters", "utils", "_types", "packages"} <= names
    assert [name for name in names if getattr(requests, name) is not getattr(plain, name)] == []
    assert set(dir(plain)) <= set(dir(requests))


def test_names_that_a_later_release_adds_come_through(requests: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new function of requests needs no new release of core.http."""
    monkeypatch.setattr(plain, "brand_new", "new", raising=False)
    assert requests.brand_new == "new"


def test_a_name_that_requests_lacks_is_an_error(requests: ModuleType) -> None:
    """A typing error is found as in requests."""
    with pytest.raises(AttributeError, match="gett"):
        _ = requests.gett


def test_a_star_import_has_the_resilient_names(requests: ModuleType) -> None:
    """`from core.http.requests import *` imports the names of requests."""
    names: dict[str, object] = {}
    exec(f"from {requests.__name__} import *", names)
    assert set(plain.__all__) <= set(names)
    assert names["get"] is requests.get


def test_a_mock_in_the_module_that_was_swapped_works(requests: ModuleType) -> None:
    """mock.patch("some.module.requests.get") replaces the call, until it is undone."""
    module = ModuleType("swapped")
    module.requests = requests  # type: ignore[attr-defined]
    before = requests.get
    with mock.patch.dict(sys.modules, swapped=module), mock.patch("swapped.requests.get") as get:
        assert requests.get(URL) is get.return_value
        with mock.patch("swapped.requests.Session.get") as session_get:
            assert requests.Session().get(URL) is session_get.return_value
        with mock.patch("swapped.requests.Session") as session:
            assert requests.Session() is session.return_value
        with mock.patch("swapped.requests.exceptions") as exceptions:
            assert requests.exceptions is exceptions
    assert requests.get is before
    assert "get" not in vars(requests)
    assert requests.exceptions is plain.exceptions


@pytest.mark.parametrize("name", [*FUNCTIONS, "request"])
@pytest.mark.parametrize("autospec", [False, True])
def test_a_mock_of_requests_own_function_works(requests: ModuleType, name: str, autospec: bool) -> None:
    """mock.patch("requests.get") works as before the import was changed."""
    before = getattr(requests, name)
    with mock.patch(f"requests.{name}", autospec=autospec) as replaced:
        arguments = ("GET", URL) if name == "request" else (URL,)
        assert getattr(requests, name)(*arguments) is replaced.return_value
    assert getattr(requests, name) is before


@pytest.mark.parametrize("target", ["requests.api.request", "requests.sessions.Session"])
def test_a_mock_below_requests_functions_works(requests: ModuleType, target: str) -> None:
    """Mocks of requests.api.request and of Session, which requests.get calls, work too."""
    with mock.patch(target) as replaced:
        assert requests.get(URL) is not None
    assert replaced.called


def test_a_mock_of_requests_own_session_works(requests: ModuleType) -> None:
    """mock.patch("requests.Session") and of its methods are obeyed."""
    with mock.patch("requests.Session") as session:
        assert requests.Session() is session.return_value
        assert requests.get is not plain.get
    with mock.patch("requests.sessions.Session") as session:
        assert requests.session() is session.return_value
    with mock.patch("requests.Session.request") as request:
        assert requests.get(URL) is request.return_value


@pytest.mark.parametrize("target", ["requests.get", "requests.api.request"])
def test_a_wrapper_is_no_replacement(
    requests: ModuleType, target: str, responses: responses_library.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents for tracing wrap requests' functions for the life of the process: calls stay resilient."""
    module, _, name = target.rpartition(".")
    original = getattr(sys.modules[module], name)

    @functools.wraps(original)
    def traced(*args: object, **kwargs: object) -> object:
        return original(*args, **kwargs)

    monkeypatch.setattr(target, traced)
    responses.get(URL, status=503)
    requests.get(URL)
    assert len(responses.calls) > 1


def test_functions_can_be_pickled() -> None:
    """`pool.map(requests.get, urls)` of a process pool sends the function to its processes."""
    assert pickle.loads(pickle.dumps(facade.get)) is http.get


def test_web_has_the_policy_for_web_requests(responses: responses_library.RequestsMock, clock: FakeClock) -> None:
    """Functions and sessions make two attempts, half a second apart."""
    responses.get(URL, status=503)
    web.get(URL)
    web.Session().get(URL)
    with web.Session() as session:
        assert session.get(URL).status_code == 503
    assert len(responses.calls) == 6
    assert clock.waits == [WEB_REQUEST.backoff] * 3


def test_the_functions_of_web_share_their_state(responses: responses_library.RequestsMock) -> None:
    """After a call opened the breaker of a server, the next call is refused."""
    responses.get(URL, status=503)
    for _ in range(5):
        web.get(URL)
    with pytest.raises(http.CircuitOpen):
        web.get(URL)
    assert facade.get(URL).status_code == 503
