from __future__ import annotations

import threading
from http.client import HTTPConnection
from urllib.parse import quote, urlsplit

import pytest
import requests

from tests.upstreams import faults
from tests.upstreams.conftest import Pick
from tests.upstreams.github import GitHub
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import World


@pytest.fixture
def github(upstreams: Upstreams) -> GitHub:
    return upstreams.github


@pytest.fixture
def url(github: GitHub, pick: Pick) -> str:
    return f"{github.url}/repos/{pick('github').full_name}"


def test_status(url: str, github: GitHub) -> None:
    """A status comes with the Retry-After that was given, and goes with the fault."""
    github.fault = faults.Status(503, "Wed, 21 Oct 2026 07:28:00 GMT")
    response = requests.get(url)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "Wed, 21 Oct 2026 07:28:00 GMT")
    github.fault = None
    assert requests.get(url).status_code == 200


def test_on_a_path(url: str, github: GitHub, upstreams: Upstreams, pick: Pick) -> None:
    """A fault meets one repository and none whose name begins alike, however the path is quoted."""
    name = pick("github").name
    github.fault = faults.Status(500, on=f"/{name}")
    assert requests.get(f"{url}/commits").status_code == 500
    github.fault = faults.FirstOf(faults.Status(500, on=f"/{name[:-1]}"), faults.Status(502, on="/nobody"))
    assert requests.get(url).status_code == 200
    path = pick("gitlab").full_name
    upstreams.gitlab.fault = faults.Status(500, on=f"/{path}")
    assert requests.get(f"{upstreams.gitlab.url}/api/v4/projects/{quote(path, safe='')}").status_code == 500


def test_black_hole(url: str, github: GitHub) -> None:
    """Requests are not answered until the fault is removed, and then all of them are."""
    github.fault = faults.BlackHole()
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(requests.get(url).status_code)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert github.requests.wait_for_in_flight(3)
    assert statuses == []
    github.fault = None
    for thread in threads:
        thread.join()
    assert statuses == [200, 200, 200]
    assert github.requests.max_in_flight == 3


def test_client_hangs_up(url: str, github: GitHub) -> None:
    """A request whose client has gone is no longer under way, and had no answer."""
    github.fault = faults.BlackHole()
    client = HTTPConnection("127.0.0.1", urlsplit(url).port)
    client.request("GET", "/")
    assert github.requests.wait_for_in_flight(1)
    client.close()
    assert github.requests.wait_for_in_flight(0)
    assert github.requests.statuses == {None: 1}


def test_end_in_a_black_hole(world: World) -> None:
    """The end of the servers does not wait for a fault."""
    with serving(world) as upstreams:
        upstreams.pypi.fault = faults.BlackHole()
        thread = threading.Thread(target=_fails, args=(upstreams.pypi.url,))
        thread.start()
        assert upstreams.pypi.requests.wait_for_in_flight(1)
    thread.join()


def _fails(url: str) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.get(url)


def test_reset(url: str, github: GitHub) -> None:
    """A connection can be reset."""
    github.fault = faults.Reset()
    with pytest.raises(requests.ConnectionError, match="reset"):
        requests.get(url)
    assert github.requests.statuses == {None: 1}


def test_truncated(url: str, github: GitHub) -> None:
    """A body can end in the middle."""
    whole = len(requests.get(url).content)
    github.fault = faults.Truncated()
    with requests.get(url, stream=True) as response:
        assert response.headers["Content-Length"] == str(whole + 1)
        assert len(response.raw.read(whole // 2)) == whole // 2
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            next(response.iter_content(1))


def test_trickle(url: str, github: GitHub) -> None:
    """A body can come byte by byte; the rest comes at once when the fault is lifted."""
    github.fault = faults.Trickle(every=60)
    with requests.get(url, stream=True) as response:
        assert response.raw.read1(1000) == b"{"
        github.fault = None
        assert response.raw.read().endswith(b"}")


def test_bodies(url: str, github: GitHub) -> None:
    """A body can be of any kind."""
    github.fault = faults.NotJSON()
    assert requests.get(url).text.startswith("<!DOCTYPE html>")
    github.fault = faults.JSON([1, None])
    assert requests.get(url).json() == [1, None]
    github.fault = faults.Mistyped()
    assert {type(requests.get(url).json()[key]) for key in ("name", "description")} == {int}
    assert isinstance(requests.get(url).json()["stargazers_count"], str)
    github.fault = faults.Huge(2**20)
    huge = requests.get(url)
    assert ("Content-Length" in huge.headers, len(huge.json()["description"])) == (False, 2**20)
    github.fault = faults.BrokenGzip()
    with pytest.raises(requests.exceptions.ContentDecodingError):
        requests.get(url)


def test_sequence(url: str, github: GitHub) -> None:
    """Faults can follow one another, round and round."""
    github.fault = faults.Sequence([faults.Status(503), None, faults.Status(429, 1)])
    assert [requests.get(url).status_code for _ in range(4)] == [503, 200, 429, 503]


def test_half() -> None:
    """Half of the requests fail, and never nine in a row."""
    failing = [fault is not None for fault in faults.Half(503).faults]
    assert failing.count(True) == failing.count(False)
    assert "F" * 9 not in "".join("F" if fails else "." for fails in failing * 2)


def test_latency_costs_little(url: str, github: GitHub) -> None:
    """Many requests wait at the same time."""
    github.latency = 0.05
    threads = [threading.Thread(target=requests.get, args=(url,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert github.requests.max_in_flight > 1
