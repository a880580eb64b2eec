"""Tickets of the Celery tasks, and the messages that are sent for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from prometheus_client import REGISTRY

from package.models import Claim, Package, SourceStatus
from package.tasks import fetch

Queue = Callable[..., None]
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Message:
    """A message to a worker."""

    args: tuple[int, str]
    kwargs: dict[str, Any]
    queue: str
    eta: datetime | None
    sent: datetime = field(default_factory=timezone.now)

    @property
    def pause(self) -> timedelta:
        """The time between sending and delivery."""
        assert self.eta
        return self.eta - self.sent


def age(hours: float) -> None:
    """Move the queueing of all tickets into the past."""
    Claim.objects.update(queued=timezone.now() - timedelta(hours=hours))


def ledger() -> dict[str, str]:
    """Return the outcome in the source status of each part."""
    return {row.name: row.outcome for row in SourceStatus.objects.all()}


def fetch_again(package: Package, source: str, tries: int) -> None:
    """Deliver the message that a ticket waits for, at its time."""
    Claim.objects.update(sent=timezone.now())
    fetch(package.pk, source, tries)


def fallbacks() -> float:
    """Return how often stored data has replaced an answer of PyPI."""
    return REGISTRY.get_sample_value("outbound_http_fallbacks_total", {"upstream": "pypi", "source": "database"}) or 0.0
