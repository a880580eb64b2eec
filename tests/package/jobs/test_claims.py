"""Claims: no two owners fetch the same source, and the claims of dead owners expire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from package.jobs import claims
from package.jobs.fetching import LONGEST
from package.models import Claim, Package
from tests.package.conftest import MakePackage, at_once


def wanted(*packages: Package, sources: Sequence[str] = ("pypi", "github")) -> list[claims.Wanted]:
    return [(package.pk, source) for package in packages for source in sources]


def expire() -> None:
    """Let all leases expire."""
    Claim.objects.exclude(until=None).update(until=timezone.now() - timedelta(seconds=5))


def queue(package: Package, source: str) -> Claim:
    return Claim.objects.create(package=package, source=source, queued=timezone.now())


def test_free_sources_are_claimed(package: Package) -> None:
    """Free sources are claimed, each with its own claim."""
    got = claims.claim("me", wanted(package))
    assert set(got) == set(wanted(package))
    assert len(set(got.values())) == 2


def test_claimed_sources_are_not_given_to_others(make_package: MakePackage) -> None:
    """A second owner gets only the sources that the first does not have."""
    first, second = make_package("a"), make_package("b")
    claims.claim("me", wanted(first))
    assert set(claims.claim("you", wanted(first, second))) == set(wanted(second))


def test_a_source_of_a_package_is_no_other_source_of_it(package: Package) -> None:
    """A claim on PyPI for a package does not block GitHub for the same package."""
    claims.claim("me", wanted(package, sources=["pypi"]))
    assert set(claims.claim("you", wanted(package))) == {(package.pk, "github")}


def test_only_requested_sources_are_claimed(package: Package) -> None:
    """A claim of one source does not take another one that is queued and free."""
    queue(package, "github")
    assert set(claims.claim("me", wanted(package, sources=["pypi"]))) == {(package.pk, "pypi")}
    assert set(claims.claim("worker", wanted(package), tickets=True)) == {(package.pk, "github")}


def test_an_owner_learns_which_sources_it_got(make_package: MakePackage) -> None:
    """A source that the owner has already claimed is not given to it again."""
    first, second = make_package("a"), make_package("b")
    claims.claim("me", wanted(first))
    claims.claim("you", wanted(second, sources=["pypi"]))
    got = claims.claim("me", wanted(second))
    assert got == {(second.pk, "github"): Claim.objects.get(package=second, source="github").pk}


def test_released_sources_are_free(package: Package) -> None:
    """A released source can be claimed again."""
    claims.release(claims.claim("me", wanted(package)).values())
    assert not Claim.objects.exists()
    assert set(claims.claim("you", wanted(package))) == set(wanted(package))


def test_sources_of_a_dead_owner_are_free_after_the_lease(package: Package) -> None:
    """After the lease, another owner can take over, and the first one no longer has the claim."""
    mine = claims.claim("me", wanted(package))
    expire()
    yours = claims.claim("you", wanted(package))
    assert yours == mine
    assert claims.still_ours("me", mine.values()) == set()
    assert claims.still_ours("you", mine.values()) == set(mine.values())


def test_a_lease_outlasts_the_slowest_server() -> None:
    """A lease is longer than the longest fetch plus some seconds for storing."""
    assert timedelta(seconds=LONGEST + 20) <= claims.LEASE


def test_each_owner_gets_a_full_lease(package: Package) -> None:
    """An owner that takes over gets a full lease."""
    claims.claim("me", wanted(package))
    expire()
    claims.claim("you", wanted(package))
    assert claims.claim("me", wanted(package)) == {}


def test_a_ticket_that_does_not_exist_is_not_claimed(package: Package) -> None:
    """A message about a ticket that does not exist gets no claim."""
    assert claims.claim("me", wanted(package), tickets=True) == {}
    assert not Claim.objects.exists()


def test_queued_sources_are_free(package: Package) -> None:
    """A queued source can be claimed by a worker, and by a run that is faster."""
    ticket = queue(package, "pypi")
    assert claims.claim("me", wanted(package), tickets=True) == {(package.pk, "pypi"): ticket.pk}
    expire()
    assert claims.claim("you", wanted(package))[package.pk, "pypi"] == ticket.pk


def test_returned_tickets_stay_queued(package: Package) -> None:
    """A ticket that was returned stays queued for its next message."""
    queue(package, "pypi")
    got = claims.claim("me", wanted(package), tickets=True)
    claims.give_back(got.values(), sent=timezone.now())
    assert claims.claim("you", wanted(package), tickets=True) == got


def test_a_deleted_package_leaves_no_claims(make_package: MakePackage) -> None:
    """Claims of a deleted package do not block other packages."""
    gone, stays = make_package("gone"), make_package("stays")
    mine = claims.claim("me", wanted(gone, stays))
    Package.objects.get(slug="gone").delete()
    assert claims.still_ours("me", mine.values()) == {mine[key] for key in wanted(stays)}
    claims.release(mine.values())
    assert not Claim.objects.exists()


def test_an_abort_releases_all_claims_of_the_owner(make_package: MakePackage) -> None:
    """An aborted owner releases all its claims, and none of others."""
    claims.claim("me", wanted(make_package("a")))
    others = claims.claim("you", wanted(make_package("b")))
    claims.release_all("me")
    assert set(Claim.objects.values_list("pk", flat=True)) == set(others.values())


def test_an_abort_keeps_tickets_queued(package: Package) -> None:
    """Tickets that a run had claimed when it was aborted stay queued and are free."""
    ticket = queue(package, "pypi")
    claims.claim("me", wanted(package))
    claims.release_all("me")
    assert claims.claim("worker", wanted(package), tickets=True) == {(package.pk, "pypi"): ticket.pk}


@pytest.mark.usefixtures("shared_database")
class TestRace:
    """Several owners at the same time, each with its own connection."""

    OWNERS = ("a", "b", "c", "d")

    @pytest.fixture
    def everything(self, make_package: MakePackage) -> list[claims.Wanted]:
        return wanted(*(make_package(f"p{number}") for number in range(30)))

    def test_each_goes_to_one(self, everything: list[claims.Wanted]) -> None:
        """In any order, each source is claimed by exactly one owner."""
        orders = [everything, everything[::-1], everything[20:] + everything[:20], everything[1::2] + everything[::2]]
        got = at_once(*(partial(claims.claim, owner, order) for owner, order in zip(self.OWNERS, orders, strict=True)))
        assert Counter(key for each in got for key in each) == Counter(everything)

    def test_released_sources_have_one_new_owner(self, everything: list[claims.Wanted]) -> None:
        """Owners that claim and release repeatedly never have the same source at once."""

        def work(owner: str, step: int) -> Counter[claims.Wanted]:
            done: Counter[claims.Wanted] = Counter()
            for start in range(0, len(everything), 5):
                got = claims.claim(owner, everything[start : start + 15][::step])
                done.update(got)
                claims.release(got.values())
            return done

        done = at_once(*(partial(work, owner, step) for owner, step in zip(self.OWNERS, (1, -1, 1, -1), strict=True)))
        assert set().union(*done) == set(everything)
        assert not Claim.objects.exists()

    def test_sources_of_a_dead_owner_have_one_new_owner(self, everything: list[claims.Wanted]) -> None:
        """After the lease of a dead owner, exactly one other owner takes over."""
        mine = claims.claim("dead", everything)
        expire()
        got = at_once(*(partial(claims.claim, owner, everything) for owner in self.OWNERS))
        assert Counter(key for each in got for key in each) == Counter(everything)
        with transaction.atomic():
            assert claims.still_ours("dead", mine.values()) == set()

    def test_a_ticket_goes_to_one_worker(self, everything: list[claims.Wanted]) -> None:
        """A ticket with several messages is claimed by one worker."""
        now = timezone.now()
        Claim.objects.bulk_create(Claim(package_id=key, source=source, queued=now) for key, source in everything)
        got = at_once(*(partial(claims.claim, owner, everything, tickets=True) for owner in self.OWNERS))
        assert Counter(key for each in got for key in each) == Counter(everything)


@pytest.mark.django_db
def test_all_insert_in_the_same_order() -> None:
    """All processes insert rows in the same order, so they cannot deadlock."""
    wanted = {(package, source) for package in range(20, 0, -1) for source in ("pypi", "github", "pypistats")}
    claims.claim(claims.new_owner(), wanted)
    assert list(Claim.objects.order_by("pk").values_list("package_id", "source")) == sorted(wanted)


@pytest.mark.django_db
def test_nothing_else_is_locked() -> None:
    """While one source of a package is stored and the package locked, another source can be claimed."""
    with CaptureQueriesContext(
        connection,
    ) as queries:
        claims.claim("one", {(1, "pypi"), (1, "github")})
        assert claims.claim("other", {(1, "pypi"), (2, "pypi")}).keys() == {(2, "pypi")}
    assert not [query["sql"] for query in queries if "package_package" in query["sql"]]
