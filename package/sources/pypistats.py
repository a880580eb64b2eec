"""Fetches the number of downloads of a project from the download statistics of PyPI."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import models

from package.sources.client import Client
from package.sources.fields import BadField, Reading, count_of
from package.sources.pypi_names import check_name

SOURCE = "pypistats"


def fetch(name: str, client: Client) -> Reading:
    """Fetch the number of downloads of the last month. Raises the errors of `Client.get`."""
    data = client.get(f"api/packages/{name.lower()}/recent", {"period": "month"}).data or {}
    check_name("the download statistics", name, data.get("package"))
    reading = Reading()
    reading.take("pypi_downloads", lambda: _last_month(data))
    return reading


def _last_month(data: Mapping[str, object]) -> int:
    recent = data.get("data")
    if not isinstance(recent, dict):
        raise BadField("missing")
    return count_of(recent, "last_month", models.BigIntegerField.MAX_BIGINT)  # some projects have billions
