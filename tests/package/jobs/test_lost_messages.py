"""Tickets outlive their messages: a message that is lost, late, early or duplicated only costs time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from package import tasks
from package.jobs import dispatch
from package.jobs.refresh_schedule import FRESH
from package.models import Claim, Package, SourceStatus
from package.sources.errors import NotReady
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import stub

Sent = list[tuple[int, str, int, datetime | None]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Return the messages that are sent; no worker receives them."""
    messages: Sent = []

    def send(package: int, source: str, tries: int = 0, eta: datetime | None = None) -> None:
        messages.append((package, source, tries, eta))

    monkeypatch.setattr(tasks, "send", send)
    return messages


@pytest.fixture
def ticket(package: Package, parts: list[Part], sent: Sent) -> Claim:
    """Queue a package with a part that succeeds at once, and one that succeeds at the third attempt."""
    parts += [
        stub("one", Reading({"repo_forks": 1})),
        stub("other", NotReady("still at it"), NotReady("still at it"), Reading({"repo_watchers": 2})),
    ]
    list(dispatch.enqueue([package.pk], tasks.send, everything=False))
    return Claim.objects.get()


def pass_time(ticket: Claim, until: Any) -> None:
    Claim.objects.filter(pk=ticket.pk).update(sent=until)


def test_the_message_for_another_try_is_lost(ticket: Claim, package: Package, sent: Sent) -> None:
    """If the message for another try is lost, the ticket is sent again and not dropped."""
    tasks.fetch(package.pk, "stub")
    pass_time(ticket, timezone.now() - dispatch.RESEND - timedelta(seconds=1))
    sent.clear()
    dispatch.send_again(tasks.send)
    assert sent == [(package.pk, "stub", 0, None)]
    tasks.fetch(package.pk, "stub")
    pass_time(ticket, timezone.now())
    tasks.fetch(package.pk, "stub")
    package.refresh_from_db()
    assert package.repo_watchers == 2
    assert not Claim.objects.exists()


def test_a_second_message_does_not_cut_a_pause_short(ticket: Claim, package: Package, sent: Sent) -> None:
    """A second message does not shorten the delay of a ticket."""
    tasks.fetch(package.pk, "stub")
    [*_, (_, _, _, later)] = sent
    attempted = SourceStatus.objects.get(part="other").last_attempt
    tasks.fetch(package.pk, "stub")
    assert SourceStatus.objects.get(part="other").last_attempt == attempted
    assert sent[-1][-1] == later
    assert Claim.objects.get().sent == later


def test_a_ticket_is_locked_just_now(ticket: Claim, package: Package, sent: Sent, monkeypatch: Any) -> None:
    """If a ticket is locked, its message is sent again soon."""
    monkeypatch.setattr(tasks.claims, "claim", lambda *_, **__: {})
    sent.clear()
    tasks.fetch(package.pk, "stub")
    [(*_, eta)] = sent
    assert eta is not None
    assert timezone.now() < eta + timedelta(seconds=1) < timezone.now() + timedelta(seconds=10)


def test_only_failed_parts_are_requested_again(package: Package, parts: list[Part], sent: Sent) -> None:
    """Another try requests only the parts that failed."""
    now = timezone.now()
    parts += [stub("fresh", Reading({"repo_forks": 1})), stub("other", NotReady("still at it"))]
    SourceStatus.objects.create(
        package=package,
        source="stub",
        part="fresh",
        outcome="updated",
        last_attempt=now - timedelta(hours=3),
        last_success=now - timedelta(hours=3),
        next_due=now + FRESH,
    )
    list(dispatch.enqueue([package.pk], tasks.send, everything=False))
    tasks.fetch(package.pk, "stub")
    pass_time(Claim.objects.get(), now)
    tasks.fetch(package.pk, "stub", 1)
    assert SourceStatus.objects.get(part="fresh").last_attempt == now - timedelta(hours=3)


def test_a_part_that_was_fetched_meanwhile_is_not_queued(package: Package, parts: list[Part], sent: Sent) -> None:
    """A part that was fetched between the query of due packages and its ticket is not queued."""
    now = timezone.now()
    parts.append(stub("", Reading()))
    SourceStatus.objects.create(
        package=package, source="stub", last_attempt=now, last_success=now, next_due=now + FRESH
    )
    list(dispatch.enqueue([package.pk], tasks.send, everything=False))
    assert not Claim.objects.exists()
