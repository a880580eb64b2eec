"""The queue of workers: a ticket for each source of a package that is due, and a message for each ticket."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from django.utils import timezone

from package.jobs import claims, dispatch
from package.jobs.dispatch import RESEND
from package.models import Claim, Package, SourceStatus
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import MakePackage, at_once, stub


class Broker(list[tuple[int, str]]):
    """A broker that can become unavailable."""

    left = 10**6

    def __call__(self, package: int, source: str) -> None:
        if not self.left:
            raise ConnectionError("away")
        self.left -= 1
        self.append((package, source))


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture(autouse=True)
def _parts(parts: list[Part]) -> None:
    """Give every package two sources, one of them with two parts."""
    parts += [stub(name, Reading(), source=source) for source, name in (("a", "1"), ("a", "2"), ("b", ""))]


@pytest.fixture
def packages(make_package: MakePackage) -> list[Package]:
    return [make_package(f"p{number}") for number in range(3)]


def enqueue(broker: Callable[[int, str], object], *packages: Package, everything: bool = False) -> list[int]:
    return list(dispatch.enqueue([package.pk for package in packages], broker, everything=everything))


def sources_of(*packages: Package) -> list[tuple[int, str]]:
    return [(package.pk, source) for package in packages for source in ("a", "b")]


class TestEnqueue:
    """enqueue."""

    def test_each_source_gets_a_ticket_and_a_message(self, packages: list[Package], broker: Broker) -> None:
        """A source gets one ticket and one message, however many parts it has."""
        assert enqueue(broker, *packages) == [3]
        assert sorted(broker) == sources_of(*packages)
        assert Claim.objects.exclude(sent=None).filter(owner="", until=None, everything=False).count() == 6

    def test_queued_sources_are_not_queued_twice(self, packages: list[Package], broker: Broker) -> None:
        """Planning again does not queue a source a second time."""
        for _ in range(3):
            enqueue(broker, *packages)
        assert len(broker) == Claim.objects.count() == 6

    def test_only_due_sources_are_queued(self, packages: list[Package], broker: Broker) -> None:
        """Only sources with a part that is due are queued."""
        later = timezone.now() + timedelta(hours=1)
        for part in ("1", "2"):
            SourceStatus.objects.create(package=packages[0], source="a", part=part, next_due=later)
        SourceStatus.objects.create(package=packages[1], source="a", part="1", next_due=later)
        enqueue(broker, *packages[:2])
        assert sorted(broker) == [(packages[0].pk, "b"), *sources_of(packages[1])]

    def test_everything_is_queued_due_or_not(self, packages: list[Package], broker: Broker) -> None:
        """With `everything`, sources are queued whether due or not."""
        later = timezone.now() + timedelta(hours=1)
        SourceStatus.objects.create(package=packages[0], source="b", next_due=later)
        enqueue(broker, packages[0], everything=True)
        assert sorted(broker) == sources_of(packages[0])
        assert Claim.objects.filter(everything=True).count() == 2

    def test_a_ticket_that_is_there_becomes_one_for_everything(self, packages: list[Package], broker: Broker) -> None:
        """An existing ticket is extended to all parts on request, and never reduced again."""
        for everything in (False, True, False):
            enqueue(broker, packages[0], everything=everything)
        assert list(Claim.objects.values_list("everything", flat=True)) == [True, True]
        assert len(broker) == 2

    def test_sources_that_a_run_has_claimed_are_queued_without_a_message(
        self, packages: list[Package], broker: Broker
    ) -> None:
        """A source that a run has claimed is queued without a message; one is sent if the run dies."""
        claims.claim("run", set(sources_of(packages[0])))
        enqueue(broker, packages[0])
        assert broker == []
        assert Claim.objects.exclude(queued=None).filter(owner="run").count() == 2
        Claim.objects.update(until=timezone.now() - timedelta(seconds=5))
        dispatch.send_again(broker)
        assert sorted(broker) == sources_of(packages[0])

    def test_deleted_packages_are_passed_over(self, packages: list[Package], broker: Broker) -> None:
        """Packages that were deleted since the list was read are skipped."""
        keys = [package.pk for package in packages]
        packages[1].delete()
        assert list(dispatch.enqueue(keys, broker, everything=False)) == [3]
        assert sorted(broker) == sources_of(packages[0], packages[2])

    def test_a_package_without_sources_has_no_ticket(self, package: Package, broker: Broker, parts: list[Part]) -> None:
        """A package without sources gets no ticket."""
        parts.clear()
        enqueue(broker, package)
        assert broker == []
        assert not Claim.objects.exists()

    def test_many_are_queued_chunk_by_chunk(
        self, packages: list[Package], broker: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Packages are queued in chunks, so that progress can be shown and workers can begin."""
        monkeypatch.setattr(dispatch, "_CHUNK", 2)
        assert enqueue(broker, *packages) == [2, 1]
        assert sorted(broker) == sources_of(*packages)


class TestBrokerAway:
    """Messages that could not be sent."""

    @pytest.fixture
    def cut(self, packages: list[Package], broker: Broker) -> Broker:
        """Return a broker that was unavailable after two messages, and is available again."""
        broker.left = 2
        with pytest.raises(ConnectionError):
            enqueue(broker, *packages)
        broker.left = 10**6
        return broker

    def test_is_not_lost(self, packages: list[Package], cut: Broker) -> None:
        """The next plan sends the missing messages, and no other."""
        dispatch.send_again(cut)
        assert sorted(cut) == sources_of(*packages)

    def test_is_sent_chunk_by_chunk(
        self, packages: list[Package], cut: Broker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Sent messages are recorded per chunk, so that a killed process sends few twice."""
        monkeypatch.setattr(dispatch, "_CHUNK", 1)

        class KilledError(BaseException):
            pass

        def send(package: int, source: str) -> None:
            if len(cut) == 4:
                raise KilledError
            cut(package, source)

        with pytest.raises(KilledError):
            dispatch.send_again(send)
        assert dispatch.unsent().count() == 2
        dispatch.send_again(cut)
        assert sorted(cut) == sources_of(*packages)


class TestSendAgain:
    """unsent and send_again."""

    @pytest.mark.parametrize(
        ("fields", "again"),
        [
            ({}, True),
            ({"queued": None}, False),
            ({"sent": timedelta(0)}, False),
            ({"sent": -RESEND + timedelta(seconds=20)}, False),
            ({"sent": -RESEND - timedelta(seconds=20)}, True),
            ({"sent": timedelta(hours=1)}, False),
            ({"until": timedelta(seconds=90)}, False),
            ({"until": -timedelta(seconds=20)}, True),
            ({"until": timedelta(seconds=90), "sent": -2 * RESEND}, False),
            ({"until": -timedelta(seconds=20), "sent": timedelta(0)}, False),
        ],
        ids=str,
    )
    def test_overdue_messages_are_sent_again(
        self, package: Package, broker: Broker, fields: dict[str, timedelta | None], again: bool
    ) -> None:
        """Only queued tickets without a lease whose message is overdue are sent again."""
        now = timezone.now()
        moments = {name: value if value is None else now + value for name, value in fields.items()}
        Claim.objects.create(package=package, source="a", **{"queued": now, **moments})
        dispatch.send_again(broker)
        assert broker == ([(package.pk, "a")] if again else [])

    def test_twice_is_once(self, packages: list[Package], broker: Broker) -> None:
        """A message that was sent again is not sent again before the same time has passed."""
        enqueue(broker, *packages)
        Claim.objects.update(sent=timezone.now() - 2 * RESEND)
        for _ in range(2):
            dispatch.send_again(broker)
        assert len(broker) == 12


class TestLeft:
    """left."""

    def test_counts_queued_and_claimed_tickets(self, packages: list[Package], broker: Broker) -> None:
        """Claimed and free tickets count; tickets queued later do not."""
        enqueue(broker, *packages[:2])
        moment = timezone.now()
        claims.claim("run", {(packages[2].pk, "a")})
        assert dispatch.left(moment) == 4
        enqueue(broker, packages[2])
        got = claims.claim("worker", {(packages[0].pk, "a")}, tickets=True)
        assert dispatch.left(moment) == 4
        claims.release(got.values())
        assert dispatch.left(moment) == 3


@pytest.mark.usefixtures("shared_database")
def test_two_plans_at_once(make_package: MakePackage, broker: Broker) -> None:
    """Two plans at once queue nothing twice and do not deadlock, even while workers fetch."""
    keys = [make_package(f"p{number}").pk for number in range(40)]
    wanted = [(key, source) for key in keys for source in ("a", "b")]

    def plan(order: list[int]) -> None:
        for _ in dispatch.enqueue(order, broker, everything=True):
            pass

    def work(order: list[tuple[int, str]]) -> None:
        for start in range(0, 80, 20):
            got = claims.claim("run", order[start : start + 20])
            claims.release(got.values())

    at_once(partial(plan, keys), partial(plan, keys[::-1]), partial(work, wanted), partial(work, wanted[::-1]))
    assert set(broker) <= set(wanted)
    assert Claim.objects.count() <= 80
