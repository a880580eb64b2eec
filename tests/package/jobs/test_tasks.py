"""The Celery tasks: a ticket is done once, whenever and however often its message arrives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import OperationalError as BrokerError
from prometheus_client import REGISTRY

from core.http.testing import OutboundHTTP
from package import tasks
from package.jobs import claims, dispatch
from package.jobs.refresh_one import refresh_one
from package.models import Claim, Package, SourceStatus
from package.sources.client import READING
from package.sources.errors import Gone, LeftAlone, NotReady, Unreachable, Unusable
from package.sources.fields import Reading
from package.sources.registry import Part
from package.tasks import PATIENCE, fetch, plan
from tests.package.conftest import CannedPyPI, MakePackage, stub
from tests.upstreams.pypi import project

SECOND = timedelta(seconds=1)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=10)


@dataclass(frozen=True)
class Message:
    args: tuple[int, str]
    kwargs: dict[str, Any]
    queue: str
    eta: datetime | None

    @property
    def pause(self) -> timedelta:
        assert self.eta
        return self.eta - timezone.now()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Return the messages that are sent; no worker receives them."""
    messages: list[Message] = []

    def apply_async(args: Any, kwargs: Any, queue: str, eta: datetime | None = None) -> None:
        messages.append(Message(args, kwargs, queue, eta))

    monkeypatch.setattr(fetch, "apply_async", apply_async)
    return messages


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    yield
    tasks._pauses.cache_clear()


@pytest.fixture
def queue(sent: list[Message]) -> Callable[..., None]:
    """Queue packages as `plan` does, and discard the first messages."""

    def enqueue(*packages: Package, everything: bool = False) -> None:
        for _ in dispatch.enqueue([package.pk for package in packages], tasks.send, everything=everything):
            pass
        sent.clear()

    return enqueue


Queue = Callable[..., None]


def age(hours: float) -> None:
    """Move the queueing of all tickets into the past."""
    Claim.objects.update(queued=timezone.now() - timedelta(hours=hours))


def ledger() -> dict[str, str]:
    return {row.name: row.outcome for row in SourceStatus.objects.all()}


class TestPlan:
    """plan."""

    def test_sends_a_message_for_each_source_that_is_due(self, make_package: MakePackage, sent: list[Message]) -> None:
        """Messages go to the queue of their source and contain only ids."""
        later = timezone.now() + timedelta(hours=1)
        package = make_package("a", repo_url="https://github.com/owner/name")
        make_package("fresh", next_due=later)
        plan()
        expected = [(package.pk, source) for source in ("github", "pypi", "pypistats")]
        assert sorted(message.args for message in sent) == expected
        for message in sent:
            assert (message.queue, message.kwargs, message.eta) == (message.args[1], {}, None)
            assert json.loads(json.dumps(message.args)) == list(message.args)

    def test_every_few_minutes_is_not_too_often(self, package: Package, sent: list[Message]) -> None:
        """A second plan queues nothing again."""
        for _ in range(3):
            plan()
        assert len(sent) == 2

    def test_sends_again_what_was_lost(self, package: Package, sent: list[Message], queue: Queue) -> None:
        """Lost messages are sent again after a quarter of an hour, even if nothing new is due."""
        queue(package)
        Package.objects.update(next_due=timezone.now() + timedelta(hours=1))
        Claim.objects.update(sent=timezone.now() - 2 * dispatch.RESEND)
        plan()
        assert sorted(message.queue for message in sent) == ["pypi", "pypistats"]


class TestFetch:
    """fetch without failures."""

    def test_fetches_one_source_of_one_package(
        self, package: Package, pypi: CannedPyPI, queue: Queue, sent: list[Message]
    ) -> None:
        """The data of one source is stored and its ticket deleted; the ticket of the other source stays."""
        pypi.knows("fortune")
        queue(package)
        fetch(package.pk, "pypi")
        assert Package.objects.get().pypi_license == "MIT"
        assert ledger() == {"pypi": "updated"}
        assert list(Claim.objects.values_list("source", flat=True)) == ["pypistats"]
        assert sent == []

    def test_the_second_of_two_messages_finds_nothing_to_do(
        self, package: Package, pypi: CannedPyPI, queue: Queue, sent: list[Message]
    ) -> None:
        """A duplicate message finds nothing to do."""
        pypi.knows("fortune")
        queue(package)
        for _ in range(3):
            fetch(package.pk, "pypi")
        assert pypi.asked == ["fortune"]
        assert sent == []

    @pytest.mark.parametrize("when", ["before it is claimed", "when it is claimed"])
    def test_a_package_that_was_deleted_is_nobodys(
        self, package: Package, pypi: CannedPyPI, queue: Queue, sent: list[Message], when: str
    ) -> None:
        """A message about a deleted package does nothing and leaves nothing."""
        key = package.pk
        queue(package)
        package.delete()
        if when == "when it is claimed":
            Claim.objects.create(package_id=key, source="pypi", queued=timezone.now())
        fetch(key, "pypi")
        assert (pypi.asked, sent, Claim.objects.count()) == ([], [], 0)

    def test_what_was_fetched_since_it_was_queued_is_not_fetched_again(
        self, package: Package, pypi: CannedPyPI, queue: Queue, sent: list[Message]
    ) -> None:
        """Parts that were fetched since they were queued are not fetched again."""
        pypi.knows("fortune")
        queue(package)
        refresh_one(Package.objects.get())
        fetch(package.pk, "pypi")
        assert pypi.asked == ["fortune"]
        assert not Claim.objects.filter(source="pypi").exists()

    @pytest.mark.parametrize(("everything", "asked"), [(False, ["2"]), (True, ["1", "2"])])
    def test_what_is_due_or_everything(
        self, package: Package, parts: list[Part], queue: Queue, everything: bool, asked: list[str]
    ) -> None:
        """A ticket fetches the parts that are due, or all, as it was queued."""
        seen: list[str] = []
        parts += [stub(name, lambda _, name=name: seen.append(name) or Reading()) for name in "12"]
        hour = timedelta(hours=1)
        now = timezone.now()
        row = {"last_attempt": now - hour, "last_success": now - hour}
        SourceStatus.objects.create(package=package, source="stub", part="1", next_due=now + hour, **row)
        queue(package, everything=everything)
        fetch(package.pk, "stub")
        assert seen == asked

    def test_a_source_that_the_package_has_no_more_is_done(
        self, package: Package, parts: list[Part], queue: Queue, sent: list[Message]
    ) -> None:
        """If the package no longer has the source, the ticket is deleted."""
        parts.append(stub("", Reading()))
        queue(package)
        parts[:] = [stub("", Reading(), source="other")]
        fetch(package.pk, "stub")
        assert (ledger(), sent, Claim.objects.count()) == ({}, [], 0)

    @pytest.mark.parametrize("error", [Gone("gone", "gone"), Unusable("no JSON", "other")])
    def test_what_would_be_the_same_again_is_not_tried_again(
        self, package: Package, parts: list[Part], queue: Queue, sent: list[Message], error: Exception
    ) -> None:
        """A permanent failure is recorded and not tried again before it is due."""
        parts.append(stub("", error))
        queue(package)
        fetch(package.pk, "stub")
        assert SourceStatus.objects.get().next_due > timezone.now()
        assert (sent, Claim.objects.count()) == ([], 0)

    def test_a_bug_is_noted_and_does_not_come_back_for_ever(
        self, package: Package, parts: list[Part], queue: Queue, sent: list[Message]
    ) -> None:
        """An unexpected error is recorded, and its ticket is not sent again."""
        parts.append(stub("", Reading()))
        SourceStatus.objects.create(package=package, source="stub", validators={"reading": READING})
        queue(package)
        fetch(package.pk, "stub")
        assert Package.objects.get().last_exception == "unexpected KeyError; see the log"
        assert (sent, Claim.objects.count()) == ([], 0)


def fetch_again(package: Package, source: str, tries: int) -> None:
    """Deliver the message that a ticket waits for, at its time."""
    Claim.objects.update(sent=timezone.now())
    fetch(package.pk, source, tries)


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

    def test_is_only_what_failed(self, package: Package, parts: list[Part], queue: Queue) -> None:
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

    def test_is_what_was_not_asked_for_because_another_part_failed(
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

    def test_is_not_what_was_gone(self, package: Package, parts: list[Part], queue: Queue) -> None:
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


class Refusing:
    """A source that always answers with this."""

    asked = 0

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, _: object) -> Reading:
        self.asked += 1
        raise self._error


def fallbacks() -> float:
    return REGISTRY.get_sample_value("outbound_http_fallbacks_total", {"upstream": "pypi", "source": "database"}) or 0.0


class TestSourceThatIsDown:
    """No ticket sends requests to a source that is down, limits our rate or has little quota left."""

    @pytest.fixture
    def packages(self, make_package: MakePackage, queue: Queue) -> list[Package]:
        packages = [make_package(f"p{number}") for number in range(3)]
        queue(*packages)
        return packages

    def test_an_open_breaker(
        self, packages: list[Package], pypi: CannedPyPI, sent: list[Message], outbound_http: OutboundHTTP
    ) -> None:
        """Nothing is sent while the breaker is open; after that, the ticket is done."""
        for package in packages:
            pypi.answers(package.slug, 503)
            fetch(package.pk, "pypi")
        asked = len(pypi.asked)
        assert asked == 10, "ten failures in a row open it"
        sent.clear()
        fetch_again(packages[0], "pypi", 1)
        [message] = sent
        assert len(pypi.asked) == asked
        assert message.pause >= 14 * SECOND
        assert message.kwargs == {"tries": 1}, "nothing was tried"
        outbound_http.clock.advance(16)
        pypi.knows("p0")
        fetch_again(packages[0], "pypi", 2)
        assert Package.objects.get(slug="p0").pypi_license == "MIT"

    def test_a_source_that_asks_to_be_left_alone(
        self, packages: list[Package], pypi: CannedPyPI, sent: list[Message]
    ) -> None:
        """A pause that a source asks for applies to all its tickets."""
        for package in packages:
            pypi.answers(package.slug, 429, headers={"Retry-After": "300"})
            fetch(package.pk, "pypi")
        assert pypi.asked == ["p0"]
        assert all(message.pause > 290 * SECOND for message in sent[1:])
        assert ledger() == {"pypi": "left alone"}
        assert [message.kwargs for message in sent] == [{"tries": 1}, {}, {}], "one was asked"

    def test_the_end_of_a_quota(self, packages: list[Package], pypi: CannedPyPI, sent: list[Message]) -> None:
        """The last tenth of a quota is reserved for visitors; tickets wait until the quota is full again."""
        headers = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "600"}
        for package in packages:
            pypi.says(package.slug, project(package.slug), headers=headers)
            fetch(package.pk, "pypi")
        assert pypi.asked == ["p0"]
        assert [message.args[0] for message in sent] == [package.pk for package in packages[1:]]
        assert all(message.pause > 590 * SECOND for message in sent)
        assert Claim.objects.filter(source="pypi", owner="", until=None).count() == 2

    def test_a_token_that_is_refused(
        self, packages: list[Package], parts: list[Part], queue: Queue, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A refused token is logged once and not used again for an hour."""
        later = timezone.now() + timedelta(hours=1)
        refusal = Refusing(LeftAlone("The source refuses our token (HTTP 401): renew it", "unauthorized", later))
        parts.append(stub("", refusal))
        queue(*packages)
        for package in packages:
            fetch(package.pk, "stub")
        assert refusal.asked == 1
        told = [record for record in caplog.records if "refuses our token" in record.getMessage()]
        assert [record.levelname for record in told] == ["WARNING"]

    def test_a_token_that_is_refused_for_several_parts(
        self, packages: list[Package], parts: list[Part], caplog: pytest.LogCaptureFixture, queue: Queue
    ) -> None:
        """A token refused for several parts is logged once."""
        later = timezone.now() + timedelta(hours=1)
        refusal = Refusing(LeftAlone("The source refuses our token (HTTP 401): renew it", "unauthorized", later))
        parts.extend([stub("one", refusal), stub("two", refusal)])
        queue(*packages)
        fetch(packages[0].pk, "stub")
        assert len([record for record in caplog.records if "refuses our token" in record.getMessage()]) == 1

    def test_the_others_go_on(self, packages: list[Package], pypi: CannedPyPI, sent: list[Message]) -> None:
        """A source that is down does not delay other sources."""
        pypi.answers("p0", 429, headers={"Retry-After": "300"})
        fetch(packages[0].pk, "pypi")
        fetch(packages[0].pk, "pypistats")
        assert Package.objects.get(slug="p0").pypi_downloads == 1000

    def test_is_not_waited_for_all_day(
        self, packages: list[Package], pypi: CannedPyPI, sent: list[Message], outbound_http: OutboundHTTP
    ) -> None:
        """After an hour, the ticket is dropped, and the ledger says why."""
        pypi.answers("p0", 429, headers={"Retry-After": "3000"})
        fetch(packages[0].pk, "pypi")
        sent.clear()
        age(hours=1.1)
        fetch(packages[1].pk, "pypi", 5)
        assert (sent, pypi.asked) == ([], ["p0"])
        assert not Claim.objects.filter(package=packages[1], source="pypi").exists()
        assert SourceStatus.objects.get(package=packages[1]).outcome == "left alone"
        assert Package.objects.get(slug="p1").next_due is None

    def test_does_not_answer_at_all(
        self,
        make_package: MakePackage,
        pypi: CannedPyPI,
        queue: Queue,
        sent: list[Message],
        outbound_http: OutboundHTTP,
    ) -> None:
        """A source that does not answer gets ten attempts, even from one task after the other."""

        def silent(_: object) -> tuple[int, dict[str, str], str]:
            outbound_http.clock.advance(10)
            raise requests.ReadTimeout("no answer")

        packages = [make_package(f"s{number}") for number in range(6)]
        queue(*packages)
        for package in packages:
            pypi.calls(package.slug, silent)
            fetch(package.pk, "pypi")
        assert len(pypi.asked) == 10
        assert [message.kwargs for message in sent] == [{"tries": 1}] * 3 + [{}] * 3
        assert SourceStatus.objects.count() == 3

    def test_the_end_of_a_quota_lasts_longer_than_patience(
        self, packages: list[Package], pypi: CannedPyPI, sent: list[Message]
    ) -> None:
        """If the quota is still used up after an hour, the ticket is dropped, and the ledger says why."""
        headers = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "3000"}
        pypi.says("p0", project("p0"), headers=headers)
        fetch(packages[0].pk, "pypi")
        age(hours=1.1)
        fetch(packages[1].pk, "pypi", 5)
        assert (sent, pypi.asked) == ([], ["p0"])
        assert not Claim.objects.filter(package=packages[1], source="pypi").exists()
        row = SourceStatus.objects.get(package=packages[1])
        assert (row.outcome, row.reason, row.last_attempt, row.next_due) == ("left alone", "left_alone", None, None)
        assert "9 of 100 calls are reserved for visitors until " in row.error
        assert Package.objects.get(slug="p1").last_fetched is None

    def test_what_has_to_serve_is_counted_when_the_ticket_goes(
        self, packages: list[Package], pypi: CannedPyPI, sent: list[Message]
    ) -> None:
        """A dropped ticket counts one fallback for each part with stored data."""
        pypi.knows("p1")
        refresh_one(packages[1])
        yesterday = timezone.now() - timedelta(days=1)
        SourceStatus.objects.update(next_due=None, last_attempt=yesterday, last_success=yesterday)
        pypi.answers("p0", 429, headers={"Retry-After": "3000"})
        fetch(packages[0].pk, "pypi")
        before = fallbacks()
        for tries in range(3):
            fetch_again(packages[1], "pypi", tries)
        assert fallbacks() == before
        age(hours=1.1)
        fetch_again(packages[1], "pypi", 3)
        assert fallbacks() - before == 1
        assert SourceStatus.objects.get(package=packages[1], source="pypi").last_success == yesterday


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
