"""The Celery tasks: `plan` queues what is due, and `fetch` does each ticket once."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from package.jobs import dispatch
from package.jobs.refresh_one import refresh_one
from package.models import Claim, Package, SourceStatus
from package.sources.client import READING
from package.sources.errors import Gone, Unusable
from package.sources.fields import Reading
from package.sources.package_parts import Part
from package.tasks import fetch, plan
from tests.package.conftest import CannedPyPI, MakePackage, stub
from tests.package.jobs.tickets import Message, Queue, ledger


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

    def test_lost_messages_are_sent_again(self, package: Package, sent: list[Message], queue: Queue) -> None:
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
    def test_a_message_about_a_deleted_package(
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

    def test_parts_fetched_since_they_were_queued_are_not_fetched_again(
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
    def test_fetches_due_parts_or_all(
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
    def test_a_permanent_failure_is_not_tried_again(
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
