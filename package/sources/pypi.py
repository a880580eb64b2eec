"""Fetches a project from PyPI's JSON API."""

from __future__ import annotations

from package.repos.address import shown
from package.sources.client import Client
from package.sources.errors import Gone, Unusable
from package.sources.pypi_fields import ProjectReading, read_project
from package.sources.pypi_names import check_name

SOURCE = "pypi"


def fetch(url: str, name: str, client: Client) -> ProjectReading:
    """Fetch a project. Raises the errors of `Client.get`.

    :param url: `pypi_url` of the package, for the error.
    :param name: the name of the project; "": `url` contains no name, so `Unusable` is raised.
    """
    if not name:
        raise Unusable(f"the PyPI URL {shown(url)} names no project on PyPI", "no_name")
    try:
        data = client.get(f"pypi/{name}/json").data
    except Gone as exc:
        raise Gone(f"PyPI has no project {name!r} (HTTP {client.status})", exc.reason) from exc
    if not data or not isinstance(data.get("info"), dict):
        raise Unusable("PyPI's answer is JSON, but does not describe a project", "other")
    check_name("PyPI", name, data["info"].get("name"))
    return read_project(data)
