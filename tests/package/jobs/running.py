"""Runs over packages, and what they report: for the tests of a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from core.http import process
from core.http.testing import OutboundHTTP
from package.jobs.refresh_summary import RefreshSummary
from package.jobs.run import run
from package.jobs.stopper import Stopper
from package.models import Package, SourceStatus
from package.sources.client import READING
from package.sources.fetch_results import FetchOutcome, FetchResult
from tests.upstreams.pypi import project

NOW = timezone.now()
FAILED, UPDATED, NOT_FOUND = FetchOutcome.FAILED, FetchOutcome.UPDATED, FetchOutcome.NOT_FOUND
LEFT_ALONE, PUT_ASIDE, NOT_READY = FetchOutcome.LEFT_ALONE, FetchOutcome.PUT_ASIDE, FetchOutcome.NOT_READY


def ago(hours: float) -> Any:
    return NOW - timedelta(hours=hours)


def slugs(packages: Any) -> list[str]:
    return [package.slug for package in packages]


@dataclass(frozen=True)
class Told:
    """The arguments of one call of `progress`."""

    slug: str
    outcomes: dict[str, FetchOutcome]
    """By source."""
    again: bool


def refresh(
    *packages: Package, stopper: Stopper | None = None, everything: bool = False
) -> tuple[RefreshSummary, list[Told]]:
    """Run over these packages; return the summary and the calls of `progress`."""
    told: list[Told] = []

    def tell(package: Package, results: list[FetchResult], again: bool) -> None:
        told.append(Told(package.slug, {result.source: result.outcome for result in results}, again))

    keys = [package.pk for package in packages]
    return run(keys, stopper or Stopper(), tell, everything=everything), told


def at_first(told: list[Told]) -> list[str]:
    """Return the packages of all calls of `progress`, without those for parts that were put aside before."""
    return [each.slug for each in told if not each.again]


def row(slug: str, source: str = "pypi") -> SourceStatus:
    return SourceStatus.objects.get(package__slug=slug, source=source)


def warnings(caplog: pytest.LogCaptureFixture, *, by: str = "package") -> list[str]:
    """Return the package app's log messages at WARNING or above."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and r.name.startswith(by)]


def known(name: str) -> dict[str, Any]:
    """Return the validators in the source status after an answer with an ETag about downloads."""
    url = f"https://pypistats.test/api/packages/{name}/recent?period=month"
    return {"reading": READING, "urls": {url: {"etag": '"1"'}}}


def during_waits(action: Callable[[], object], outbound_http: OutboundHTTP) -> None:
    """Call `action` at each wait."""

    def wait(seconds: float) -> None:
        outbound_http.clock.wait(seconds)
        action()

    process.use(runtime=replace(process.current().runtime, wait=wait))


def answering(*statuses: int, then: int = 200) -> Callable[[Any], tuple[int, dict[str, str], str]]:
    """Answer with each of these statuses, and with the last one from then on."""
    left = list(statuses)

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        status = left.pop(0) if left else then
        return status, {}, body(request) if status == 200 else ""

    return answer


def body(request: Any) -> str:
    """Return PyPI's JSON for the requested project."""
    return json.dumps(project(request.url.split("/")[-2]))
