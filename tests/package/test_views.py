"""The pages of the site."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY

from core.http.testing import OutboundHTTP
from package.models import Package, SourceStatus
from package.sources.client import Client as AskingClient
from package.sources.fetch_results import SkippedField
from package.sources.fields import Reading
from package.sources.package_parts import Part
from tests.package.conftest import CannedPyPI, MakePackage, stub
from tests.upstreams.pypi import project

FETCH = "/packages/p/fortune/fetch/"


@pytest.fixture
def visitor(client: Client, db: None) -> Client:
    """Return the browser of a user who is logged in, but not staff."""
    client.force_login(User.objects.create_user("visitor"))
    return client


class TestList:
    """The home page."""

    @pytest.mark.django_db
    def test_of_an_empty_site(self, client: Client) -> None:
        """A new site has a page that says it is empty."""
        response = client.get("/")
        assert response.status_code == 200
        assert "no packages yet" in response.text

    def test_shows_packages(self, client: Client, package: Package, pypi: CannedPyPI) -> None:
        """Title, version and licence, and the way to the package's own page."""
        pypi.knows("fortune")
        package.fetch_metadata()
        text = client.get("/").text
        assert '<a href="/packages/p/fortune/">Fortune</a>' in text
        assert "<td>2.1</td>" in text
        assert "<td>MIT</td>" in text

    def test_has_pages(self, client: Client, make_package: MakePackage) -> None:
        """Fifty packages a page; a page number that makes no sense leads to one that does."""
        for number in range(101):
            make_package(f"p{number:03}")
        assert client.get("/").text.count("/packages/p/") == 50
        assert "Page 2 of 3" in client.get("/?page=2").text
        for odd in ("99", "x", "-1", ""):
            assert client.get(f"/?page={odd}").status_code == 200
        assert client.get("/?page=99").text.count("/packages/p/") == 1

    def test_costs_the_same_for_any_number_of_packages(
        self, client: Client, make_package: MakePackage, pypi: CannedPyPI, django_assert_num_queries: Any
    ) -> None:
        """The page of a full site is one query for all packages, and one for their number."""
        for slug in ("a", "b", "c"):
            pypi.knows(slug)
            make_package(slug).fetch_metadata()
        with django_assert_num_queries(2):
            client.get("/")

    @pytest.mark.django_db
    def test_is_for_reading(self, client: Client) -> None:
        """The page cannot be posted to."""
        assert client.post("/").status_code == 405


class TestDetail:
    """The page of a package."""

    def test_of_a_new_package(self, client: Client, package: Package) -> None:
        """A package that was never refreshed has a page."""
        response = client.get("/packages/p/fortune/")
        assert response.status_code == 200
        assert "never" in response.text

    def test_shows_the_data_of_pypi(self, client: Client, package: Package, pypi: CannedPyPI) -> None:
        """The page shows the data of PyPI that visitors want to know."""
        pypi.knows("fortune")
        package.fetch_metadata()
        text = client.get("/packages/p/fortune/").text
        for shown in ("2.1", "1 January 2026", "MIT", "&gt;=3.10", "yes", "https://fortune.example/docs/"):
            assert shown in text
        assert "Framework :: Django" in text
        assert "problem" not in text.partition("</style>")[2]

    def test_shows_problems(self, client: Client, make_package: MakePackage) -> None:
        """A visitor sees that the data may be old, and why."""
        make_package(
            "fortune",
            last_exception="PyPI answered HTTP 503",
            last_exception_at=timezone.now(),
            pypi_missing_since=timezone.now(),
        )
        text = client.get("/packages/p/fortune/").text
        assert "PyPI answered HTTP 503" in text
        assert "Not on PyPI since" in text

    def test_shows_if_its_repository_is_gone_or_archived(self, client: Client, make_package: MakePackage) -> None:
        """The page says if the repository is gone or archived."""
        make_package("fortune", repo_missing_since="2026-03-04T12:00Z", date_repo_archived="2026-05-06T12:00Z")
        text = client.get("/packages/p/fortune/").text
        assert "gone since 4 March 2026" in text
        assert "archived since 6 May 2026" in text

    def test_shows_how_old_each_part_is_to_those_who_look_after_it(
        self, admin_client: Client, package: Package, pypi: CannedPyPI
    ) -> None:
        """If a source fails, staff see which one, why, and how old its data is; visitors see why."""
        pypi.knows("fortune")
        package.fetch_metadata()
        pypi.answers("fortune", 503)
        package.fetch_metadata()
        text = admin_client.get("/packages/p/fortune/").text
        assert "Pypi data from 0\xa0minutes ago: PyPI answered HTTP 503." in text
        assert "Pypistats data from 0\xa0minutes ago." in text
        text = Client().get("/packages/p/fortune/").text
        assert "PyPI answered HTTP 503" in text
        assert "minutes ago: " in text
        assert "Pypistats data" not in text

    def test_costs_the_same_for_any_number_of_parts(
        self, admin_client: Client, package: Package, django_assert_max_num_queries: Any
    ) -> None:
        """The source statuses of a package are one query."""
        for number in range(10):
            SourceStatus.objects.create(package=package, source="x", part=str(number), error="x")
        with django_assert_max_num_queries(4):
            assert admin_client.get("/packages/p/fortune/").status_code == 200

    def test_shows_downloads_where_they_are_known(self, client: Client, package: Package) -> None:
        """An unknown number of downloads is not shown as 0."""
        assert "in the last month" not in client.get("/packages/p/fortune/").text
        Package.objects.update(pypi_downloads=1234)
        assert "1234 in the last month" in client.get("/packages/p/fortune/").text

    def test_escapes_text_of_pypi(self, client: Client, package: Package, pypi: CannedPyPI) -> None:
        """Text from PyPI is text, not markup."""
        pypi.knows("fortune", license_expression="<script>alert(1)</script>", classifiers=["<b>x</b>"])
        package.fetch_metadata()
        text = client.get("/packages/p/fortune/").text
        assert "<script>" not in text
        assert "<b>x</b>" not in text

    @pytest.mark.django_db
    def test_of_no_package(self, client: Client) -> None:
        """An unknown slug is a 404."""
        assert client.get("/packages/p/nonesuch/").status_code == 404

    def test_offers_the_refresh_to_those_who_may(self, client: Client, package: Package) -> None:
        """Only users who are logged in see the button."""
        assert FETCH not in client.get("/packages/p/fortune/").text
        client.force_login(User.objects.create_user("visitor"))
        assert FETCH in client.get("/packages/p/fortune/").text

    def test_does_not_ask_pypi(self, client: Client, package: Package, pypi: CannedPyPI) -> None:
        """The page of a package sends no request to PyPI."""
        client.get("/packages/p/fortune/")
        assert not pypi.asked


class TestFetch:
    """The button "Refresh now"."""

    def test_refreshes(self, visitor: Client, package: Package, pypi: CannedPyPI) -> None:
        """The button refreshes the package, and shows its page and the results."""
        pypi.knows("fortune")
        response = visitor.post(FETCH, follow=True)
        assert response.redirect_chain == [("/packages/p/fortune/", 302)]
        assert "pypi updated" in response.text
        assert "pypistats updated" in response.text
        assert "MIT" in response.text
        assert Package.objects.get().pypi_license == "MIT"

    def test_says_that_nothing_is_new(self, visitor: Client, package: Package, pypi: CannedPyPI) -> None:
        """Unchanged data is reported as a success."""
        pypi.says("fortune", project("fortune"), headers={"ETag": '"1"'})
        visitor.post(FETCH)
        pypi.answers("fortune", 304)
        response = visitor.post(FETCH, follow=True)
        assert "pypi unchanged" in response.text
        assert '<li class="warning">' not in response.text

    def test_shows_the_result_of_each_part(self, visitor: Client, package: Package, parts: list[Part]) -> None:
        """The results name each part, and the reason if it failed."""
        parts += [
            stub("metadata", Reading({"repo_forks": 5})),
            stub("commits", ZeroDivisionError("secret")),
            stub("watchers", Reading(skipped=[SkippedField("repo_watchers", "is not a valid count")])),
        ]
        text = visitor.post(FETCH, follow=True).text
        assert "stub metadata updated" in text
        assert "stub commits failed: unexpected ZeroDivisionError" in text
        assert "stub watchers partly updated" in text
        assert "secret" not in text

    def test_shows_skipped_fields(self, visitor: Client, package: Package, pypi: CannedPyPI) -> None:
        """A partly updated part is reported with the fields that were skipped."""
        pypi.knows("fortune", classifiers=5)
        assert "pypi partly updated" in visitor.post(FETCH, follow=True).text

    @pytest.mark.parametrize(
        ("status", "says"), [(503, "HTTP 503"), (429, "limits our rate"), (404, "no project"), (200, "not JSON")]
    )
    def test_shows_why_it_failed_and_keeps_the_data(
        self, visitor: Client, package: Package, pypi: CannedPyPI, status: int, says: str
    ) -> None:
        """A PyPI that fails is a message on the page, never an error page, and costs no data."""
        pypi.knows("fortune")
        visitor.post(FETCH)
        pypi.answers("fortune", status, body="out of order")
        response = visitor.post(FETCH, follow=True)
        assert response.status_code == 200
        assert '<li class="warning">' in response.text
        assert says in response.text
        assert Package.objects.get().pypi_license == "MIT"

    def test_a_package_without_pypi(self, visitor: Client, make_package: MakePackage) -> None:
        """The page says that there is nothing to refresh."""
        make_package("fortune", pypi_url="")
        assert "has no PyPI name" in visitor.post(FETCH, follow=True).text

    @pytest.mark.parametrize("answer", [503, 429, "refused", "slow"])
    def test_does_not_make_its_visitor_wait(
        self, visitor: Client, package: Package, pypi: CannedPyPI, outbound_http: OutboundHTTP, answer: int | str
    ) -> None:
        """A refresh takes at most two attempts and five seconds, so no worker is busy for a minute."""

        def slow(_: object) -> Any:
            outbound_http.clock.advance(2)
            raise requests.ReadTimeout("slow")

        if answer == "slow":
            pypi.calls("fortune", slow)
        elif answer == "refused":
            pypi.breaks("fortune", requests.ConnectionError("refused"))
        else:
            pypi.answers("fortune", int(answer), headers={"Retry-After": "30"})
        assert visitor.post(FETCH).status_code == 302
        assert 1 <= len(pypi.asked) <= 2
        assert outbound_http.clock.now < 5

    def test_one_hiccup_does_not_show(self, visitor: Client, package: Package, pypi: CannedPyPI) -> None:
        """One transient failure is retried and does not show."""
        pypi.mock.get(pypi.url("fortune"), status=503)
        pypi.mock.get(pypi.url("fortune"), json=project("fortune"))
        assert "pypi updated" in visitor.post(FETCH, follow=True).text

    def test_many_slow_answers_do_not_keep_their_visitor_waiting(
        self, visitor: Client, package: Package, parts: list[Part], pypi: CannedPyPI, outbound_http: OutboundHTTP
    ) -> None:
        """All parts together take about 15 s, though each takes four: gunicorn kills a worker after 30."""

        def ask(client: AskingClient) -> Reading:
            client.get("x")
            return Reading()

        def slow(_: object) -> Any:
            outbound_http.clock.advance(2)
            if len(pypi.mock.calls) % 2:
                return 200, {}, "{}"
            raise requests.ReadTimeout("slow")

        parts += [stub(str(number), ask) for number in range(8)]
        pypi.mock.add_callback("GET", "https://stub.test/x", callback=slow)
        assert visitor.post(FETCH).status_code == 302
        assert outbound_http.clock.now <= 15
        assert SourceStatus.objects.filter(outcome="updated").exists()

    def test_counts_fallbacks_to_stored_data(self, visitor: Client, package: Package, pypi: CannedPyPI) -> None:
        """outbound_http_fallbacks_total counts stored data that is shown because a source failed."""
        labels = {"upstream": "pypi", "source": "database"}
        pypi.knows("fortune")
        visitor.post(FETCH)
        before = REGISTRY.get_sample_value("outbound_http_fallbacks_total", labels) or 0
        pypi.answers("fortune", 503)
        visitor.post(FETCH)
        assert REGISTRY.get_sample_value("outbound_http_fallbacks_total", labels) == before + 1

    @pytest.mark.usefixtures("netrc")
    def test_sends_no_password_of_netrc(self, visitor: Client, package: Package, pypi: CannedPyPI) -> None:
        """No password of the machine's netrc is sent, not even after a redirect."""
        pypi.answers("fortune", 301, headers={"Location": pypi.url("Fortune")})
        pypi.knows("Fortune")
        visitor.post(FETCH)
        assert [call.request.headers.get("Authorization") for call in pypi.mock.calls] == [None] * 3

    @pytest.mark.parametrize("method", ["get", "head", "put", "delete"])
    def test_only_by_post(self, visitor: Client, package: Package, pypi: CannedPyPI, method: str) -> None:
        """A crawler or a prefetching browser refreshes nothing."""
        assert getattr(visitor, method)(FETCH).status_code == 405
        assert not pypi.asked

    def test_only_logged_in(self, client: Client, package: Package, pypi: CannedPyPI) -> None:
        """An anonymous user is asked to log in, and no request is sent to PyPI."""
        response = client.post(FETCH)
        assert response.status_code == 302
        assert "login" in response["Location"]
        assert not pypi.asked

    def test_only_from_our_own_pages(self, package: Package, pypi: CannedPyPI) -> None:
        """Another site cannot press the button for its visitor."""
        client = Client(enforce_csrf_checks=True)
        client.force_login(User.objects.create_user("visitor"))
        assert client.post(FETCH).status_code == 403
        assert not pypi.asked

    @pytest.mark.django_db
    def test_of_no_package(self, visitor: Client) -> None:
        """An unknown slug is a 404."""
        assert visitor.post(FETCH).status_code == 404
