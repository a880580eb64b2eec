"""Small things that several apps need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import responses as responses_library

from core.http.testing import OutboundHTTP
from core.utils import PackageStatus, get_pypi_url, healthcheck, oc_slugify, status_choices_switch

PING = "https://monitoring.test/ping/secret"


@pytest.fixture
def responses() -> Iterator[responses_library.RequestsMock]:
    with responses_library.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def page(name: str) -> str:
    return f"https://pypi.test/project/{name}/"


def asked(mock: responses_library.RequestsMock) -> list[str | None]:
    return [call.request.url for call in mock.calls]


class TestGetPyPIUrl:
    """get_pypi_url."""

    @pytest.fixture
    def pypi(self, responses: responses_library.RequestsMock) -> responses_library.RequestsMock:
        """PyPI without any project; the answers that a test adds have priority."""
        for name in CANDIDATES:
            responses.get(page(name), status=404)
        return responses

    def test_tries_the_candidates_in_order(self, pypi: responses_library.RequestsMock) -> None:
        """Slug, title, lower case, title case: each is asked for once; None says that there is no such page."""
        assert get_pypi_url("My.fancy Package") is None
        assert asked(pypi) == [page(name) for name in CANDIDATES]

    @pytest.mark.parametrize("position", range(4))
    def test_returns_the_first_page_that_exists(self, pypi: responses_library.RequestsMock, position: int) -> None:
        """A 404 does not end the search, and a page that was found does."""
        pypi.upsert("GET", page(CANDIDATES[position]), status=200)
        assert get_pypi_url("My.fancy Package") == page(CANDIDATES[position])
        assert asked(pypi) == [page(name) for name in CANDIDATES[: position + 1]]

    def test_a_simple_title_is_asked_for_in_each_writing_once(self, responses: responses_library.RequestsMock) -> None:
        """Equal candidates cost one call."""
        for name in ("django", "Django"):
            responses.get(page(name), status=404)
        assert get_pypi_url("Django") is None
        assert asked(responses) == [page("django"), page("Django")]

    def test_a_removed_project(self, responses: responses_library.RequestsMock) -> None:
        """A removed project (410) counts as one that does not exist."""
        for name in ("django", "Django"):
            responses.get(page(name), status=410)
        assert get_pypi_url("django") is None

    def test_a_redirect_to_the_page_counts(self, responses: responses_library.RequestsMock) -> None:
        """PyPI sends names to their normal form; the page exists all the same."""
        responses.get(page("zope-x"), status=301, headers={"Location": page("zope.x")})
        responses.get(page("zope.x"), status=200)
        assert get_pypi_url("zope.x") == page("zope-x")

    @pytest.mark.parametrize("title", ["", "  ", ".", "..", " .. ", "..."])
    def test_titles_that_would_lead_elsewhere_are_not_asked_for(
        self, responses: responses_library.RequestsMock, title: str
    ) -> None:
        """Dots would be resolved away, and show another page of PyPI as the project's."""
        assert get_pypi_url(title) is None
        assert not responses.calls

    @pytest.mark.parametrize(
        ("title", "name"), [("a/../b", "a%2F..%2Fb"), ("a?b", "a%3Fb"), ("ü/#", "%C3%BC%2F%23"), ("100%", "100%25")]
    )
    def test_titles_cannot_change_the_path(
        self, responses: responses_library.RequestsMock, title: str, name: str
    ) -> None:
        """Any title is only the name of the project in the URL, and cannot change other parts."""
        responses.get(page(name), status=200)
        responses.add_callback("GET", page(oc_slugify(title)), callback=lambda _: (404, {}, ""))
        assert get_pypi_url(title) == page(name)

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_raises_when_pypi_cannot_say(self, responses: responses_library.RequestsMock, status: int) -> None:
        """A PyPI that is down must not look like a project that does not exist."""
        responses.get(page("django"), status=status)
        with pytest.raises(requests.HTTPError):
            get_pypi_url("Django")

    def test_raises_when_pypi_forbids(self, responses: responses_library.RequestsMock) -> None:
        """Neither is a refusal an answer to the question."""
        responses.get(page("django"), status=403)
        with pytest.raises(requests.HTTPError):
            get_pypi_url("Django")

    def test_raises_when_a_later_candidate_cannot_be_asked(self, responses: responses_library.RequestsMock) -> None:
        """As long as one name is unanswered, None would be a guess."""
        responses.get(page("django"), status=404)
        responses.get(page("Django"), status=503)
        with pytest.raises(requests.HTTPError):
            get_pypi_url("Django")

    @pytest.mark.parametrize("error", [requests.ConnectionError("refused"), requests.ReadTimeout("slow")])
    def test_raises_requests_errors(self, responses: responses_library.RequestsMock, error: Exception) -> None:
        """A caller catches one family of errors, RequestException, for everything that can go wrong."""
        responses.get(page("django"), body=error)
        with pytest.raises(requests.RequestException):
            get_pypi_url("Django")

    def test_transient_failures_are_retried(
        self, responses: responses_library.RequestsMock, outbound_http: OutboundHTTP
    ) -> None:
        """One failure of PyPI does not change the result."""
        responses.get(page("django"), status=503)
        responses.get(page("django"), status=200)
        assert get_pypi_url("django") == page("django")
        assert outbound_http.clock.waits == [0.5]

    @pytest.mark.parametrize("timeout", [0.5, 1.0, 3])
    def test_all_candidates_share_one_time_budget(
        self, responses: responses_library.RequestsMock, outbound_http: OutboundHTTP, timeout: float
    ) -> None:
        """All candidate names share one time budget, `timeout`."""

        def slow(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
            outbound_http.clock.advance(timeout * 0.4)
            return 404, {}, ""

        for name in CANDIDATES:
            responses.add_callback("GET", page(name), callback=slow)
        with pytest.raises(requests.Timeout):
            get_pypi_url("My.fancy Package", timeout=timeout)
        assert len(responses.calls) == 3
        assert outbound_http.clock.now <= timeout * 1.2 + 1e-9

    def test_each_attempt_ends_within_the_budget(self, responses: responses_library.RequestsMock) -> None:
        """No attempt takes longer than the time budget."""
        responses.get(page("django"), status=200)
        get_pypi_url("django", timeout=0.7)
        assert 0 < last_timeout(responses) <= 0.7

    def test_each_call_has_its_own_budget(
        self, responses: responses_library.RequestsMock, outbound_http: OutboundHTTP
    ) -> None:
        """Each call has its whole time budget, however much the last one used."""
        responses.get(page("django"), status=200)
        for _ in range(3):
            assert get_pypi_url("django") == page("django")
            outbound_http.clock.advance(100)


CANDIDATES = ["my-fancy-package", "My.fancy%20Package", "my.fancy%20package", "My.Fancy%20Package"]


def last_timeout(mock: responses_library.RequestsMock) -> Any:
    return mock.calls[-1].request.req_kwargs["timeout"]  # type: ignore[attr-defined]  # responses notes them there


class TestHealthcheck:
    """healthcheck."""

    def test_returns_true_for_an_accepted_ping(self, responses: responses_library.RequestsMock) -> None:
        """An accepted ping returns True, and is sent once."""
        responses.get(PING, status=200)
        assert healthcheck(PING) is True
        assert len(responses.calls) == 1

    def test_tries_again_where_that_may_help(
        self, responses: responses_library.RequestsMock, outbound_http: OutboundHTTP
    ) -> None:
        """One hiccup of the monitoring does not raise a false alarm."""
        responses.get(PING, body=requests.ConnectionError("reset"))
        responses.get(PING, status=200)
        assert healthcheck(PING) is True
        assert outbound_http.clock.waits == [0.5]

    def test_makes_two_attempts_at_most(
        self, responses: responses_library.RequestsMock, outbound_http: OutboundHTTP
    ) -> None:
        """A monitoring that is down holds a job up for a moment only."""
        responses.get(PING, status=503)
        assert healthcheck(PING) is False
        assert len(responses.calls) == 2
        assert outbound_http.clock.now == 0.5

    @pytest.mark.parametrize("status", [404, 410, 500, 503])
    def test_returns_false_for_a_refused_ping(self, responses: responses_library.RequestsMock, status: int) -> None:
        """A ping that the monitoring refuses returns False, and raises no error."""
        responses.get(PING, status=status)
        assert healthcheck(PING) is False

    @pytest.mark.parametrize(
        "error",
        [
            requests.ConnectionError("refused"),
            requests.Timeout("slow"),
            requests.exceptions.SSLError("bad certificate"),
            OSError("no file descriptors left"),
            RuntimeError("a bug"),
            RecursionError(),
            UnicodeError("idna"),
        ],
    )
    def test_never_raises(self, responses: responses_library.RequestsMock, error: Exception) -> None:
        """No failure of the monitoring raises an error."""
        responses.get(PING, body=error)
        assert healthcheck(PING) is False

    @pytest.mark.parametrize("url", ["", "not a url", "ftp://monitoring.test/", "https://", "https://[", None, 5])
    def test_never_raises_for_a_bad_address(self, url: Any) -> None:
        """A mistake in the configured address is False as well."""
        assert healthcheck(url) is False

    def test_never_raises_for_broken_settings(self, settings: Any) -> None:
        """A mistake in OUTBOUND_HTTP raises no error either."""
        settings.OUTBOUND_HTTP = {"default": {"retries": "many"}}
        assert healthcheck(PING) is False

    def test_keeps_the_address_out_of_the_log(
        self, responses: responses_library.RequestsMock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The address of a ping is its password."""
        responses.get(PING, body=requests.ConnectionError("refused"))
        healthcheck(PING)
        assert "Health check" in caplog.text
        assert "secret" not in caplog.text

    def test_timeout_bounds_an_attempt(self, responses: responses_library.RequestsMock) -> None:
        """A monitoring that hangs holds the job up for a second, not for ten."""
        responses.get(PING, status=200)
        healthcheck(PING, timeout=1.5)
        assert last_timeout(responses) == 1.5


class TestStatus:
    """PackageStatus, status_choices_switch."""

    @pytest.mark.parametrize(("value", "label"), [choice for choice in PackageStatus.choices if choice[0]])
    def test_every_classifier_of_pypi_has_its_number(self, value: int, label: str) -> None:
        """The classifiers of PyPI map to the numbers that djangopackages stores."""
        assert status_choices_switch(label) == value
        assert f":: {value} -" in label

    @pytest.mark.parametrize(
        "status", ["", "Production/Stable", "Development Status :: 8 - Extinct", "Framework :: Django", "5"]
    )
    def test_unknown_texts_have_no_status(self, status: str) -> None:
        """An unknown text returns None."""
        assert status_choices_switch(status) is None


@pytest.mark.parametrize(
    ("title", "slug"),
    [("zope.interface", "zope-interface"), ("Django REST", "django-rest"), ("a_b", "a_b"), ("Ünï", "uni"), ("..", "")],
)
def test_oc_slugify(title: str, slug: str) -> None:
    """Slugs are Django's, with a dash where a dot was."""
    assert oc_slugify(title) == slug
