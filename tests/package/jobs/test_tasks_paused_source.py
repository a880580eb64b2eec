"""The Celery tasks: no ticket sends a request to a source that is down, limits our rate or has little quota left."""

from __future__ import annotations

from datetime import timedelta

import pytest
import requests
from django.utils import timezone

from core.http.testing import OutboundHTTP
from package.jobs.refresh_one import refresh_one
from package.models import Claim, Package, SourceStatus
from package.sources.errors import LeftAlone
from package.sources.fields import Reading
from package.sources.package_parts import Part
from package.tasks import fetch
from tests.package.conftest import CannedPyPI, MakePackage, stub
from tests.package.jobs.tickets import SECOND, Message, Queue, age, fallbacks, fetch_again, ledger
from tests.upstreams.pypi import project


class Refusing:
    """A source that always answers with this."""

    asked = 0

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, _: object) -> Reading:
        self.asked += 1
        raise self._error


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
        """After an hour, the ticket is dropped, and the source status says why."""
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

    def test_a_quota_that_is_used_up_for_more_than_an_hour(
        self, packages: list[Package], pypi: CannedPyPI, sent: list[Message]
    ) -> None:
        """If the quota is still used up after an hour, the ticket is dropped, and the source status says why."""
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

    def test_a_dropped_ticket_counts_fallbacks(
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
