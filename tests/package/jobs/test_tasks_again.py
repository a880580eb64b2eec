"""The Celery tasks: tickets that failed for now, that another owner has, or whose database or broker is away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import OperationalError as BrokerError

from core.http.testing import OutboundHTTP
from package import tasks
from package.jobs import claims, dispatch
from package.jobs.refresh_one import refresh_one
from package.models import Claim, Package, SourceStatus
from package.sources.errors import Gone, NotReady, Unreachable
from package.sources.fields import Reading
from package.sources.package_parts import Part
from package.tasks import PATIENCE, fetch, plan
from tests.package.conftest import CannedPyPI, stub
from tests.package.jobs.tickets import SECOND, Message, Queue, age, fallbacks, fetch_again, ledger

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=10)


class TestTryAgain:
    """Parts that failed for now."""

    def test_comes_back_as_a_message(
        self, package: Package, pypi: CannedPyPI, queue: Queue, sent: list[Message]
    ) -> None:
        """A ticket that failed for now stays queued and gets another message later."""
        pypi.answers("fortune", 503)
        queue(package)
        fetch(package.pk, "pypi")
        [message] = sent
        assert (message.args, message.queue, message.kwargs) == ((package.pk, "pypi"), "pypi", {"tries": 1})
        assert FIRST_PAUSE - SECOND < message.pause <= FIRST_PAUSE * 1.5
        ticket = Claim.objects.get(source="pypi")
        assert (ticket.owner, ticket.until, ticket.sent) == ("", None, message.eta)

    def test_is_one_failure_however_often(
        self, package: Package, pypi: CannedPyPI, queue: Queue, sent: list[Message], outbound_http: OutboundHTTP
    ) -> None:
        """Tries of one ticket count as one failure."""
        pypi.answers("fortune", 429)
        queue(package)
        for tries in range(3):
            fetch_again(package, "pypi", tries)
            outbound_http.clock.advance(400)
        assert SourceStatus.objects.get().failures == 1
        pypi.knows("fortune")
        fetch_again(package, "pypi", 3)
        assert (SourceStatus.objects.get().failures, Package.objects.get().last_exception) == (0, "")
        assert len(sent) == 3

    def test_requests_only_failed_parts(self, package: Package, parts: list[Part], queue: Queue) -> None:
        """Another try requests only the parts that failed."""
        asked: list[str] = []
        parts += [
            stub("1", lambda _: asked.append("1") or Reading()),
            stub("2", later := NotReadyOnce()),
        ]
        queue(package)
        fetch(package.pk, "stub")
        fetch_again(package, "stub", 1)
        assert (asked, later.asked) == (["1"], 2)

    def test_fetches_parts_that_were_not_requested_because_another_failed(
        self, package: Package, parts: list[Part], queue: Queue
    ) -> None:
        """Parts that were not requested because another part failed are fetched with the next try."""
        down = Unreachable("The stub could not be reached", "connection")
        parts += [stub("1", down, Reading()), stub("2", Reading())]
        queue(package)
        fetch(package.pk, "stub")
        assert ledger() == {"stub 1": "failed", "stub 2": "failed"}
        fetch_again(package, "stub", 1)
        assert ledger() == {"stub 1": "updated", "stub 2": "updated"}

    def test_a_repository_that_is_gone_is_not_requested_again(
        self, package: Package, parts: list[Part], queue: Queue
    ) -> None:
        """A repository that is gone is not requested again because one of its parts was not ready."""
        parts += [stub("1", Gone("gone", "gone")), stub("2", NotReadyOnce())]
        queue(package)
        fetch(package.pk, "stub")
        fetch(package.pk, "stub", 1)
        assert ledger()["stub 1"] == "not found"

    @given(tries=st.integers(0, 200), wait=st.floats(-7200, 7200), queued=st.floats(0, 7200))
    def test_pauses_grow_and_end(self, tries: int, wait: float, queued: float) -> None:
        """Delays double up to ten minutes with jitter, respect the end of a pause, and end."""
        now = timezone.now()
        until = now + timedelta(seconds=wait)
        at = tasks._try_again(Claim(queued=now - timedelta(seconds=queued)), tries, until)
        if at is None:
            assert timedelta(seconds=queued) >= PATIENCE - 5 * SECOND
            return
        assert timedelta(seconds=queued) <= PATIENCE
        shortest = min(FIRST_PAUSE * 2 ** min(tries, 20), LONGEST_PAUSE)
        assert max(until, now + shortest) <= at <= max(until, now + 1.5 * shortest + 5 * SECOND)

    def test_no_two_come_back_at_the_same_moment(self) -> None:
        """Tickets that failed together are tried again at different times."""
        ticket, now = Claim(queued=timezone.now()), timezone.now()
        pauses = {round((tasks._try_again(ticket, 3, now) - now).total_seconds(), 2) for _ in range(50)}
        assert len(pauses) > 25

    def test_ends_after_an_hour(self, package: Package, pypi: CannedPyPI, queue: Queue, sent: list[Message]) -> None:
        """After an hour, the ticket is dropped, its parts stay due, and the fallback is counted."""
        pypi.knows("fortune")
        refresh_one(package)
        yesterday = timezone.now() - timedelta(days=1)
        SourceStatus.objects.update(next_due=None, last_attempt=yesterday, last_success=yesterday)
        Package.objects.update(next_due=None)
        pypi.answers("fortune", 503)
        queue(package)
        age(hours=1.1)
        before = fallbacks()
        fetch(package.pk, "pypi", 9)
        assert (sent, Claim.objects.filter(source="pypi").count()) == ([], 0)
        assert SourceStatus.objects.get(source="pypi").failures == 1
        assert fallbacks() - before == 1


class NotReadyOnce:
    """A source that needs some seconds for its answer."""

    asked = 0

    def __call__(self, _: object) -> Reading:
        self.asked += 1
        if self.asked == 1:
            raise NotReady("not yet", "not_ready")
        return Reading()


class TestLease:
    """A ticket that another owner has."""

    def test_is_looked_at_again_when_the_lease_is_over(
        self, package: Package, pypi: CannedPyPI, queue: Queue, sent: list[Message]
    ) -> None:
        """The message comes again after the lease, because the owner may die; this does not count as a try."""
        queue(package)
        claims.claim("run", {(package.pk, "pypi")})
        fetch(package.pk, "pypi", 2)
        [message] = sent
        until = Claim.objects.get(source="pypi").until
        assert until < message.eta <= until + 5 * SECOND
        assert message.kwargs == {"tries": 2}
        assert pypi.asked == []

    def test_is_not_asked_after_all_the_time(
        self, package: Package, queue: Queue, sent: list[Message], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If the database's clock is behind, messages do not follow each other without delay."""
        queue(package)
        Claim.objects.update(owner="run", until=timezone.now() - timedelta(minutes=5))
        monkeypatch.setattr(claims, "claim", lambda *_, **__: {})
        fetch(package.pk, "pypi")
        [message] = sent
        assert message.pause > 0.5 * SECOND

    def test_that_is_over_is_taken_over(
        self, package: Package, pypi: CannedPyPI, queue: Queue, sent: list[Message]
    ) -> None:
        """After its lease, the ticket of a killed worker is done by the next message."""
        pypi.knows("fortune")
        queue(package)
        claims.claim("dead", {(package.pk, "pypi")}, tickets=True)
        Claim.objects.filter(owner="dead").update(until=timezone.now() - SECOND)
        fetch(package.pk, "pypi")
        assert Package.objects.get().pypi_license == "MIT"
        assert not Claim.objects.filter(source="pypi").exists()


class TestDatabase:
    """The database and the broker while they are unavailable."""

    @pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
    @pytest.mark.parametrize("task", [plan, fetch])
    def test_is_waited_for(
        self, package: Package, monkeypatch: pytest.MonkeyPatch, task: Any, error: Exception
    ) -> None:
        """While the database is unavailable, the message comes again with growing delays."""
        failures = [error] * 3

        def fail(*_: object, **__: object) -> Any:
            if failures:
                raise failures.pop()
            return {}

        monkeypatch.setattr(claims, "claim", fail)
        monkeypatch.setattr(dispatch, "send_again", fail)
        monkeypatch.setattr(dispatch, "enqueue", lambda *_, **__: ())
        args = () if task is plan else (package.pk, "pypi")
        assert task.apply(args).state == "SUCCESS"
        assert failures == []

    @pytest.fixture
    def store_fails_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        errors = [OperationalError("gone")]
        store = tasks.store

        def fail(*args: Any, **how: Any) -> None:
            if errors:
                raise errors.pop()
            store(*args, **how)

        monkeypatch.setattr(tasks, "store", fail)

    @pytest.mark.usefixtures("store_fails_once")
    def test_that_fails_when_it_is_to_store_loses_nothing(
        self, package: Package, pypi: CannedPyPI, queue: Queue, sent: list[Message]
    ) -> None:
        """If storing fails, the message comes again, and the ticket is free."""
        pypi.knows("fortune")
        queue(package)
        assert fetch.apply((package.pk, "pypi")).state == "SUCCESS"
        assert sent == []
        assert Package.objects.get().pypi_license == "MIT"
        assert not Claim.objects.filter(source="pypi").exists()

    @pytest.mark.usefixtures("store_fails_once")
    def test_that_is_gone_when_the_ticket_is_to_be_freed_loses_nothing(
        self, package: Package, pypi: CannedPyPI, queue: Queue, sent: list[Message], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If the ticket cannot be freed, the message comes again and waits for the lease."""

        def fail(_: str) -> None:
            raise OperationalError("gone")

        monkeypatch.setattr(claims, "release_all", fail)
        pypi.knows("fortune")
        queue(package)
        assert fetch.apply((package.pk, "pypi")).state == "SUCCESS"
        [message] = sent
        Claim.objects.update(until=timezone.now() - SECOND)
        fetch(*message.args, **message.kwargs)
        assert Package.objects.get().pypi_license == "MIT"
        assert not Claim.objects.filter(source="pypi").exists()

    def test_without_a_broker_the_ticket_stays(
        self, package: Package, pypi: CannedPyPI, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If the message for later cannot be sent, a plan sends it again."""

        def away(*_: object, **__: object) -> None:
            raise BrokerError("away")

        pypi.answers("fortune", 503)
        queue(package)
        monkeypatch.setattr(fetch, "apply_async", away)
        with pytest.raises(BrokerError):
            fetch(package.pk, "pypi")
        ticket = Claim.objects.get(source="pypi")
        assert (ticket.owner, ticket.until) == ("", None)
        Claim.objects.update(sent=ticket.sent - 2 * dispatch.RESEND)
        assert ticket in dispatch.unsent()
