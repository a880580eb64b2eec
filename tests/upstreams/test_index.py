from __future__ import annotations

import requests

from tests.upstreams.conftest import Pick
from tests.upstreams.server import Upstreams


def test_project(upstreams: Upstreams, pick: Pick) -> None:
    """PyPI describes a project, its releases the oldest first."""
    name = pick("github").pypi
    data = requests.get(f"{upstreams.pypi.url}/pypi/{name}/json").json()
    assert data["info"]["name"] == name
    assert data["info"]["version"] == list(data["releases"])[-1]
    assert data["releases"][data["info"]["version"]][0]["upload_time_iso_8601"].endswith(".000000Z")
    assert requests.get(f"{upstreams.pypi.url}/project/{name}/").headers["Content-Type"].startswith("text/html")


def test_not_modified(upstreams: Upstreams, pick: Pick) -> None:
    """PyPI's tag is strong, and good until something changes."""
    package = pick("github")
    url = f"{upstreams.pypi.url}/pypi/{package.pypi}/json"
    tag = requests.get(url).headers["ETag"]
    assert tag.startswith('"')
    unchanged = requests.get(url, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)
    upstreams.world.change(package)
    assert requests.get(url, headers={"If-None-Match": tag}).status_code == 200


def test_spelling(upstreams: Upstreams, pick: Pick) -> None:
    """PyPI redirects those who spell a name in another way."""
    name = pick("github").pypi
    response = requests.get(f"{upstreams.pypi.url}/pypi/{name.title().replace('-', '_')}/json")
    assert [one.status_code for one in (*response.history, response)] == [301, 200]
    assert response.url == f"{upstreams.pypi.url}/pypi/{name}/json"


def test_unknown(upstreams: Upstreams, pick: Pick) -> None:
    """A project that does not exist or was removed is a 404."""
    removed = pick("github").pypi
    upstreams.pypi.remove(removed)
    for name in ("missing", removed):
        response = requests.get(f"{upstreams.pypi.url}/pypi/{name}/json")
        assert (response.status_code, response.json()) == (404, {"message": "Not Found"})
    assert requests.get(f"{upstreams.pypistats.url}/api/packages/missing/recent").text == "404"


def test_downloads(upstreams: Upstreams, pick: Pick) -> None:
    """Pypistats counts downloads, and has no tags."""
    name = pick("github").pypi
    response = requests.get(f"{upstreams.pypistats.url}/api/packages/{name}/recent")
    data = response.json()
    assert {key: type(value) for key, value in data.items()} == {"data": dict, "package": str, "type": str}
    assert data["data"]["last_day"] <= data["data"]["last_week"] <= data["data"]["last_month"]
    assert "ETag" not in response.headers
