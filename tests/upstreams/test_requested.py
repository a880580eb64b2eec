from __future__ import annotations

import requests

from tests.upstreams.requested import Requested
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.world import World


def test_log(upstreams: Upstreams) -> None:
    """Requests are recorded as they were sent."""
    pypi = upstreams.pypi
    headers = {"If-None-Match": '"x"', "Authorization": "Bearer secret"}
    requests.get(f"{pypi.url}/pypi/a%2Fb/json?c=d", headers=headers)
    requests.head(f"{pypi.url}/nothing")
    assert list(pypi.requests) == [
        Requested("GET", "/pypi/a%2Fb/json?c=d", True, "Bearer secret", 404),
        Requested("HEAD", "/nothing", False, "", 404),
    ]
    assert (len(pypi.requests), pypi.requests.statuses, pypi.requests.max_in_flight) == (2, {404: 2}, 1)
    upstreams.clear()
    assert (list(pypi.requests), len(pypi.requests), pypi.requests.max_in_flight) == ([], 0, 0)


def test_counts_only(world: World) -> None:
    """For long runs requests are counted, and not kept."""
    with serving(world, remember=False) as upstreams:
        requests.get(upstreams.pypi.url)
        assert (len(upstreams.pypi.requests), list(upstreams.pypi.requests)) == (1, [])
