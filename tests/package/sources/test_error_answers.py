"""Refusals of GitHub and GitLab, end to end: requests, stored data, texts for visitors, the log."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.test import override_settings
from django.utils import timezone
from pytest_django import Settings

from core.http import process
from core.http.registry import Runtime
from core.http.testing import OutboundHTTP
from package.jobs.refresh_one import refresh_one
from package.jobs.refresh_summary import RefreshSummary
from package.jobs.run import run
from package.jobs.stopper import Stopper
from package.models import Category, Package, SourceStatus
from package.sources.fetch_results import FetchOutcome, FetchResult
from package.sources.package_parts import parts_of
from package.sources.sessions import Sessions
from tests.upstreams.faults import Answer, Fault, FirstOf, Turn
from tests.upstreams.github import refusing, secondary_limit
from tests.upstreams.refusing import Refusing
from tests.upstreams.server import Upstreams, serving
from tests.upstreams.upstream import Upstream
from tests.upstreams.world import World

AT_ONCE = 4
"""Requests in flight."""
ALLOW_LIST = "The `acme` organization has an IP allow list enabled, and your IP address is not permitted"
Make = Callable[..., Package]


@pytest.fixture(scope="module")
def world() -> World:
    return World(80, shares={"github": 1, "gitlab": 1})


@pytest.fixture(scope="module")
def servers(world: World) -> Iterator[Upstreams]:
    with serving(world) as upstreams:
        upstreams.github.pending = 0  # type: ignore[attr-defined]
        yield upstreams


@pytest.fixture
def upstreams(servers: Upstreams, settings: Settings) -> Iterator[Upstreams]:
    """Return the simulated servers, reset and without a quota; the settings have a token for each."""
    settings.GITHUB_TOKEN, settings.GITLAB_TOKEN = "for-github", "for-gitlab"
    named = {}
    for kind in ("github", "gitlab"):
        upstream = getattr(servers, kind)
        upstream.quota, upstream.latency = None, 0.0
        hosts = [upstream.url.removeprefix("http://")]
        named[kind] = {**settings.OUTBOUND_HTTP["upstreams"][kind], "hosts": hosts, "requests_per_second": None}
    settings.GITHUB_API_URL, settings.GITLAB_URL = servers.github.url, servers.gitlab.url
    servers.clear()
    with override_settings(OUTBOUND_HTTP={"default": {"max_concurrency": AT_ONCE}, "upstreams": named}):
        yield servers
    for upstream in servers.all:
        upstream.restore()


@pytest.fixture
def make(upstreams: Upstreams, world: World, category: Category) -> Make:
    """Make packages for the simulated repositories: ``make("github")``."""
    fakes = {
        kind: iter(
            [each for each in world.packages if each.kind == kind and len(world.repo(kind, each.full_name).commits)]
        )
        for kind in ("github", "gitlab")
    }

    def made(kind: str) -> Package:
        fake = next(fakes[kind])
        url = upstreams.repo_url(fake)
        return Package.objects.create(title=fake.title, slug=fake.slug, repo_url=url, category=category)

    return made


def path_of(package: Package) -> str:
    return "/".join(package.repo_url.split("/")[3:])


def outcomes(results: list[FetchResult]) -> dict[str, FetchOutcome]:
    return {result.part: result.outcome for result in results}


def refresh(package: Package) -> dict[str, FetchOutcome]:
    found = outcomes(refresh_one(package))
    package.refresh_from_db()
    return found


def refresh_all(packages: list[Package]) -> RefreshSummary:
    """Refresh with more threads than concurrent requests. Threads wait for each other, so the clock is real."""
    keys = [package.pk for package in packages]
    process.use(runtime=Runtime())
    return run(keys, Stopper(), lambda *_: None, workers=3 * AT_ONCE, everything=True)


def told(caplog: pytest.LogCaptureFixture, advice: str) -> list[str]:
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    return [message for message in messages if advice in message]


def all_parts(outcome: FetchOutcome) -> dict[str, FetchOutcome]:
    return dict.fromkeys(("metadata", "participants", "commits", "weekly"), outcome)


LEFT_ALONE, UPDATED, SKIPPED = FetchOutcome.LEFT_ALONE, FetchOutcome.UPDATED, FetchOutcome.SKIPPED

CONCERN_ALL: dict[str, tuple[str, Fault, str, float]] = {
    "secondary limit": ("github", secondary_limit(None), "", 60),
    "secondary limit with a header": ("github", secondary_limit(600), "", 600),
    "abuse detection": ("github", refusing(403, "You have triggered an abuse detection mechanism."), "", 60),
    "429 without a word": ("github", Refusing(429, ""), "", 60),
    "bad credentials": ("github", refusing(401, "Bad credentials"), "GITHUB_TOKEN", 3600),
    "suspended": ("github", refusing(403, "Sorry. Your account was suspended"), "GITHUB_TOKEN", 3600),
    "login attempts": ("github", refusing(403, "Maximum number of login attempts exceeded."), "GITHUB_TOKEN", 3600),
    "User-Agent": ("github", Refusing(403, "Request forbidden by administrative rules."), "OUTBOUND_USER_AGENT", 3600),
    "our address": ("github", Refusing(403, "Access to this site has been restricted."), "support", 900),
    "GitLab: unknown token": ("gitlab", Refusing(401, {"message": "401 Unauthorized"}), "GITLAB_TOKEN", 3600),
    "GitLab: revoked": ("gitlab", Refusing(401, {"error": "invalid_token"}), "GITLAB_TOKEN", 3600),
    "GitLab: scope": ("gitlab", Refusing(403, {"error": "insufficient_scope"}), "Replace the token", 3600),
    "GitLab: terms": ("gitlab", Refusing(403, {"message": "You must accept the Terms of Service"}), "Log in", 3600),
    "GitLab: banned": ("gitlab", Refusing(403, "Forbidden\n"), "this machine", 3600),
    "GitLab: robot": ("gitlab", Refusing(403, "<title>Just a moment...</title>"), "", 300),
    "GitLab: Retry later": ("gitlab", Refusing(429, "Retry later\n"), "", 60),
}


@pytest.mark.parametrize("name", CONCERN_ALL)
class TestWhatConcernsEveryPackage:
    """Refusals of the rate, the token or the whole site pause the source, and no package fails."""

    def test_no_request_starts_after_the_first_answer(
        self, upstreams: Upstreams, make: Make, caplog: pytest.LogCaptureFixture, name: str, shared_database: None
    ) -> None:
        """After the first refusal, only requests in flight are sent; the log says once what to do."""
        kind, fault, advice, _ = CONCERN_ALL[name]
        upstream: Upstream = getattr(upstreams, kind)
        upstream.fault, upstream.latency = fault, 0.05
        packages = [make(kind) for _ in range(20)]
        refresh_all(packages)
        assert 1 <= len(upstream.requests) <= AT_ONCE
        assert set(SourceStatus.objects.values_list("outcome", flat=True)) <= {"left alone", ""}
        assert set(Package.objects.values_list("last_exception", "repo_missing_since")) == {("", None)}
        assert len(told(caplog, advice)) == 1 or not advice

    def test_it_is_asked_again_when_that_is_over(
        self, upstreams: Upstreams, make: Make, outbound_http: OutboundHTTP, name: str
    ) -> None:
        """After the pause, requests are sent again, and packages are refreshed."""
        kind, fault, _, seconds = CONCERN_ALL[name]
        upstream: Upstream = getattr(upstreams, kind)
        upstream.fault = fault
        package = make(kind)
        assert refresh(package) == all_parts(LEFT_ALONE)
        upstream.fault = None
        outbound_http.clock.advance(seconds - 51)  # a call may wait for so long
        assert refresh(package) == all_parts(LEFT_ALONE)
        assert len(upstream.requests) == 1
        outbound_http.clock.advance(52)
        assert refresh(package) == all_parts(UPDATED)
        assert package.last_exception == ""


class TestSecondaryLimit:
    """A limit that names no time."""

    def test_waits_longer_each_time(self, upstreams: Upstreams, make: Make, outbound_http: OutboundHTTP) -> None:
        """A minute, two, four, … up to an hour: GitHub's documented rule."""
        upstreams.github.fault = secondary_limit(None)
        package = make("github")
        for minutes in (1, 2, 4, 8, 16, 32, 60, 60):
            sent = len(upstreams.github.requests)
            refresh(package)
            assert len(upstreams.github.requests) == sent + 1
            outbound_http.clock.advance(minutes * 60 - 51)
            refresh(package)
            assert len(upstreams.github.requests) == sent + 1
            outbound_http.clock.advance(51)

    def test_makes_no_call_wait(self, upstreams: Upstreams, make: Make, outbound_http: OutboundHTTP) -> None:
        """No call waits for the end of the pause."""

        class Slow(Refusing):
            async def play(self, turn: Turn) -> Answer:
                outbound_http.clock.advance(1)
                return await super().play(turn)

        upstreams.github.fault = Slow(429, "")
        assert refresh(make("github")) == all_parts(LEFT_ALONE)
        assert outbound_http.clock.waits == []


class TestPartitions:
    """Calls with a token and calls without one have limits of their own."""

    def test_a_token_that_is_refused_does_not_stop_calls_without(self, upstreams: Upstreams, make: Make) -> None:
        """A refused token does not pause calls without a token."""
        package = make("github")
        upstreams.github.fault = refusing(401, "Bad credentials", with_token=True)
        assert refresh(package) == all_parts(LEFT_ALONE)
        with override_settings(GITHUB_TOKEN=""):
            assert refresh(package) == all_parts(UPDATED)
        assert [entry.status for entry in upstreams.github.requests] == [401, 200, 200, 200, 200]

    def test_without_a_token_a_401_is_the_packages(self, upstreams: Upstreams, make: Make) -> None:
        """A 401 to a request without a token concerns only the package."""
        package, other = make("gitlab"), make("gitlab")
        upstreams.gitlab.fault = Refusing(401, {"message": "401 Unauthorized"}, on=f"/projects/{path_of(package)}")
        with override_settings(GITLAB_TOKEN=""):
            assert refresh(package) == all_parts(FetchOutcome.FAILED)
            assert refresh(other) == all_parts(UPDATED)
        assert package.last_exception == "GitLab answered HTTP 401"

    def test_each_session_is_for_its_own(self) -> None:
        """Each part uses the session of its partition."""
        own = Sessions()
        with override_settings(GITHUB_TOKEN="s3cret"):
            parts = parts_of(Package(pypi_url="fortune", repo_url="https://github.com/owner/name"))
        used = {part.source: (part.partition, own.client(part.server)._session) for part in parts}
        assert used["pypi"] == ("", own.trusted)
        assert used["github"] == ("token", own.with_token)
        own.close()


class TestOwnerRefusesTheToken:
    """Public repositories that can be read without a token, but not with ours."""

    @pytest.fixture
    def package(self, make: Make) -> Package:
        return make("github")

    def test_it_is_asked_without(self, upstreams: Upstreams, package: Package, make: Make) -> None:
        """The requests of this package are repeated without the token; other packages keep it."""
        upstreams.github.fault = refusing(403, ALLOW_LIST, with_token=True, on=f"/repos/{path_of(package)}")
        assert refresh(package) == all_parts(UPDATED)
        given = [bool(entry.authorization) for entry in upstreams.github.requests]
        assert given == [True, False] * 4
        assert (package.last_exception, package.repo_description != "") == ("", True)
        upstreams.clear()
        assert refresh(make("github")) == all_parts(UPDATED)
        assert all(entry.authorization for entry in upstreams.github.requests)

    def test_the_small_quota_of_those_without_is_no_reason_to_hold_the_source(
        self, upstreams: Upstreams, package: Package, make: Make, shared_database: None
    ) -> None:
        """When the quota without a token is used up, only this package waits."""
        on = f"/repos/{path_of(package)}"
        limit = {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3000"}
        says = {"message": "API rate limit exceeded for 192.0.2.1."}
        upstreams.github.fault = FirstOf(_Both(refusing(403, ALLOW_LIST), Refusing(403, says, limit), on))
        others = [make("github") for _ in range(5)]
        summary = refresh_all([package, *others])
        assert summary.outcomes["github"] == {FetchOutcome.NOT_READY: 4, UPDATED: 20}
        assert summary.left_alone == {}
        assert sum(not entry.authorization for entry in upstreams.github.requests) == 1
        row = SourceStatus.objects.filter(package=package, part="metadata").get()
        assert "does not accept our token" in row.error
        assert row.next_due is not None
        assert row.next_due - timezone.now() < timedelta(hours=1.5)
        package.refresh_from_db()
        assert package.last_exception == ""

    @pytest.mark.parametrize(("status", "outcome"), [(404, FetchOutcome.NOT_FOUND), (403, FetchOutcome.FAILED)])
    def test_a_refusal_without_the_token_too_fails_the_package(
        self, upstreams: Upstreams, package: Package, status: int, outcome: FetchOutcome
    ) -> None:
        """If the request without the token is refused too, the package fails."""
        on = f"/repos/{path_of(package)}"
        without = refusing(status, "No")
        upstreams.github.fault = _Both(refusing(403, ALLOW_LIST), without, on)
        assert set(refresh(package).values()) == {outcome}
        assert (package.repo_missing_since is not None) is (status == 404)


class _Both(Fault):
    """One refusal for requests with a token, another for those without."""

    def __init__(self, with_token: Refusing, without: Refusing, on: str) -> None:
        super().__init__(on=on)
        self._faults = with_token, without

    async def play(self, turn: Turn) -> Answer:
        return await self._faults["Authorization" not in turn.request.headers].play(turn)


class TestPartThatIsNotOffered:
    """Parts that a server does not provide are not failures."""

    TOO_LARGE = "The history or contributor list is too large to list contributors for this repository via the API."

    def test_keeps_stored_data(self, upstreams: Upstreams, make: Make) -> None:
        """The part is due in a week, keeps its data, and visitors see no error; other parts are not affected."""
        package = make("github")
        assert refresh(package) == all_parts(UPDATED)
        before = package.participants
        upstreams.github.fault = refusing(403, self.TOO_LARGE, on=f"/repos/{path_of(package)}/contributors")
        upstreams.clear()
        assert refresh(package)["participants"] is SKIPPED
        assert sum("/contributors" in path for path in upstreams.github.requests.paths) == 1
        assert (package.participants, package.last_exception) == (before, "")
        rows = {row.part: row for row in SourceStatus.objects.all()}
        assert rows["participants"].failures == 0
        assert "does not list the contributors" in rows["participants"].error
        due = {part: row.next_due - timezone.now() for part, row in rows.items() if row.next_due}
        assert timedelta(days=6.9) < due["participants"] < timedelta(days=9)
        assert due["commits"] < timedelta(days=1)

    def test_ends_a_row_of_failures(self, upstreams: Upstreams, make: Make) -> None:
        """A part that turns out not to be provided no longer counts as failing."""
        package = make("github")
        on = f"/repos/{path_of(package)}/contributors"
        upstreams.github.fault = Refusing(400, "no", on=on)
        refresh(package)
        assert package.last_exception == "GitHub answered HTTP 400"
        upstreams.github.fault = refusing(403, self.TOO_LARGE, on=on)
        refresh(package)
        assert (package.last_exception, package.last_exception_count) == ("", 0)

    def test_is_asked_for_once_in_a_run(self, upstreams: Upstreams, make: Make, shared_database: None) -> None:
        """The part is not tried again in the run, and no failure is logged."""
        packages = [make("github") for _ in range(5)]
        names = [f"/repos/{path_of(package)}/contributors" for package in packages]
        upstreams.github.fault = FirstOf(*(refusing(403, self.TOO_LARGE, on=name) for name in names))
        summary = refresh_all(packages)
        assert summary.outcomes["github"] == {UPDATED: 15, SKIPPED: 5}
        assert (len(upstreams.github.requests), summary.put_aside, summary.items["failure"]) == (20, 0, 0)

    @pytest.mark.parametrize(
        ("part", "path", "fault"),
        [
            ("participants", "contributors", (409, "Git Repository is empty.")),
            ("weekly", "stats/participation", (422, "This repository contains 10,000 or more commits")),
        ],
    )
    def test_may_be_another_one(
        self, upstreams: Upstreams, make: Make, part: str, path: str, fault: tuple[int, str]
    ) -> None:
        """Other parts can be missing too: contributors without commits, statistics of too many commits."""
        package = make("github")
        upstreams.github.fault = refusing(*fault, on=f"/repos/{path_of(package)}/{path}")
        assert refresh(package) == {**all_parts(UPDATED), part: SKIPPED}
        assert package.last_exception == ""

    def test_of_a_project_whose_repository_is_switched_off(self, upstreams: Upstreams, make: Make) -> None:
        """If the repository of a project is disabled, GitLab still provides its metadata."""
        package = make("gitlab")
        on = f"/projects/{path_of(package)}/repository"
        upstreams.gitlab.fault = Refusing(403, {"message": "403 Forbidden"}, on=on)
        assert refresh(package) == {**all_parts(SKIPPED), "metadata": UPDATED}
        assert package.last_exception == ""

    def test_that_describes_the_package_is_a_failure(self, upstreams: Upstreams, make: Make) -> None:
        """If even the first part is refused, this is a failure that visitors read."""
        package = make("gitlab")
        upstreams.gitlab.fault = Refusing(403, {"message": "403 Forbidden"}, on=f"/projects/{path_of(package)}")
        assert refresh(package)["metadata"] is FetchOutcome.FAILED
        assert package.last_exception == "GitLab does not provide this part of the project (HTTP 403)"


class TestBlockedRepository:
    @pytest.mark.parametrize(("status", "reason"), [(403, "tos"), (451, "dmca")])
    def test_is_gone(
        self, upstreams: Upstreams, make: Make, caplog: pytest.LogCaptureFixture, status: int, reason: str
    ) -> None:
        """A repository that is gone is marked and keeps its data, and the log says why."""
        package = make("github")
        block = {"reason": reason, "created_at": "2022-01-31T14:32:19Z"}
        on = f"/repos/{path_of(package)}"
        upstreams.github.fault = refusing(status, "Repository access blocked", on=on, block=block)
        assert refresh(package) == {"metadata": FetchOutcome.NOT_FOUND}
        assert len(upstreams.github.requests) == 1
        assert package.repo_missing_since is not None
        pattern = rf"GitHub has blocked access to this repository \(HTTP {status}\): {reason}"
        assert any(re.search(pattern, message) for message in told(caplog, "blocked"))
