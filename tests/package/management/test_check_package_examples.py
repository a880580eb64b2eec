"""check_package_examples: an example becomes inactive only after repeated answers that its page is gone."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.utils import timezone
from responses import RequestsMock

from package.jobs.example_checks import APART, PERMANENT_IN_A_ROW
from package.models import PackageExample
from tests.package.management.conftest import EXAMPLE_URL, Command, MakeExample, asked


def age(hours: float = 24) -> None:
    """Move the last check into the past by some hours."""
    for example in PackageExample.objects.exclude(last_checked=None):
        example.last_checked -= timedelta(hours=hours)
        example.save()


def logged(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the log lines of the checks. They are on stderr, because the command configures logging again."""
    return [line for line in capsys.readouterr().err.splitlines() if "package.jobs.example_checks: " in line]


class TestPermanentAnswers:
    """404, 410 and 451 count: three in a row, with time in between."""

    @pytest.mark.parametrize("status", [404, 410, 451])
    def test_three_in_a_row(
        self,
        check: Command,
        responses: RequestsMock,
        example: PackageExample,
        capsys: pytest.CaptureFixture[str],
        status: int,
    ) -> None:
        """The third one makes it inactive, and is logged."""
        responses.get(EXAMPLE_URL, status=status)
        for failures in (1, 2):
            assert check() == 0
            example.refresh_from_db()
            assert (example.active, example.failures) == (True, failures)
            assert example.last_result == f"HTTP {status}"
            age()
        assert check() == 0
        example.refresh_from_db()
        assert (example.active, example.failures) == (False, 3)
        [line] = logged(capsys)
        assert (
            f"WARNING package.jobs.example_checks: fortune: example {example.pk} (example.test) becomes inactive"
            in line
        )

    def test_a_second_run_right_after_does_not_count(
        self, check: Command, responses: RequestsMock, example: PackageExample
    ) -> None:
        """Several runs within a few hours count as one failure."""
        responses.get(EXAMPLE_URL, status=404)
        for _ in range(PERMANENT_IN_A_ROW + 1):
            check()
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 1)
        assert example.last_result == "HTTP 404, too soon after the last one to count"

    def test_failures_of_a_job_that_runs_each_hour_add_up(
        self, check: Command, responses: RequestsMock, example: PackageExample
    ) -> None:
        """The minimum time is measured from the last answer that counted, so hourly runs add up."""
        responses.get(EXAMPLE_URL, status=404)
        hours = round(APART.total_seconds() / 3600)
        for _ in range(2 * hours + 1):
            check()
            age(1)
        example.refresh_from_db()
        assert not example.active

    def test_one_good_answer_resets_the_count(
        self, check: Command, responses: RequestsMock, example: PackageExample
    ) -> None:
        """A good answer in between resets the count."""
        for status in (404, 404, 200, 404, 404):
            responses.upsert("GET", EXAMPLE_URL, status=status)
            check()
            age()
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 2)

    def test_a_page_that_is_gone_behind_a_redirect(
        self, check: Command, responses: RequestsMock, make_example: MakeExample
    ) -> None:
        """Redirects are followed, and the last response counts."""
        example = make_example(failures=2, last_checked=timezone.now() - timedelta(days=1))
        responses.get(EXAMPLE_URL, status=301, headers={"Location": "https://other.test/"})
        responses.get("https://other.test/", status=404)
        check()
        example.refresh_from_db()
        assert not example.active
        assert example.url == EXAMPLE_URL

    def test_activation_by_a_person_resets_the_count(
        self, check: Command, responses: RequestsMock, make_example: MakeExample
    ) -> None:
        """After a person activates an example, the count of failures starts again at 0."""
        example = make_example(failures=3, last_checked=timezone.now())
        responses.get(EXAMPLE_URL, status=404)
        check()
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 1)


class TestEverythingElse:
    """Nothing else makes an example inactive, however often it happens."""

    @pytest.mark.parametrize(
        ("answer", "note"),
        [
            *(({"status": status}, f"HTTP {status}") for status in (400, 401, 403, 405, 408, 429, 500, 502, 503, 504)),
            ({"status": 304}, "HTTP 304"),
            ({"status": 302, "headers": {"Location": EXAMPLE_URL}}, "too many redirects"),
            ({"status": 302, "headers": {"Location": "ftp://example.test/"}}, "InvalidSchema"),
            ({"status": 302, "headers": {"Location": "http://example.test/"}}, "BlockedAddress"),
            ({"body": requests.ConnectionError("no such name")}, "could not be reached: ConnectionError"),
            ({"body": requests.ConnectTimeout("slow")}, "could not be reached"),
            ({"body": requests.ReadTimeout("slow")}, "could not be reached"),
            ({"body": requests.exceptions.SSLError("bad certificate")}, "could not be reached: SSLError"),
            ({"body": ZeroDivisionError("a bug")}, ""),
        ],
    )
    def test_neither_counts_nor_resets(
        self, check: Command, responses: RequestsMock, make_example: MakeExample, answer: dict[str, Any], note: str
    ) -> None:
        """A 503, a 429, a 401 or a network failure neither adds to the count nor resets it."""
        example = make_example(failures=2, last_checked=timezone.now() - timedelta(days=1))
        responses.get(EXAMPLE_URL, **answer)
        check()
        example.refresh_from_db()
        assert note in example.last_result
        for _ in range(PERMANENT_IN_A_ROW):
            age()
            check()
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 2)

    def test_an_open_breaker(self, check: Command, responses: RequestsMock, make_example: MakeExample) -> None:
        """When a server is known to be down, only its examples are skipped."""
        responses.get(EXAMPLE_URL, status=503)
        responses.get("https://good.test/", status=200)
        for _ in range(5):
            make_example(failures=2)
        good = make_example("https://good.test/")
        assert check() == 0
        assert not PackageExample.objects.filter(active=False).exists()
        assert PackageExample.objects.filter(failures=2).count() == 5
        assert asked(responses).count(EXAMPLE_URL) == 10, "the breaker opens after ten attempts"
        last = PackageExample.objects.filter(failures=2).latest("pk")
        assert last.last_result.startswith("its server is down; nothing is sent before")
        good.refresh_from_db()
        assert good.last_result == "HTTP 200"

    def test_a_server_that_limits_our_rate(
        self, check: Command, responses: RequestsMock, make_example: MakeExample
    ) -> None:
        """A server that asks for a longer pause than a call may wait gets no further request."""
        responses.get(EXAMPLE_URL, status=429, headers={"Retry-After": "600"})
        first, second = make_example(failures=2), make_example(failures=2)
        check()
        assert asked(responses) == [EXAMPLE_URL]
        first.refresh_from_db(), second.refresh_from_db()
        assert first.last_result == "HTTP 429"
        assert second.last_result.startswith("its server limits our rate")
        assert first.active
        assert second.active

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1/",
            "http://127.0.0.1:1/",
            "http://localhost:8080/",
            "http://[::1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://2130706433/",
            "ftp://example.test/",
            "file:///etc/passwd",
            "http://",
            "example.test/page",
            "http://[",
            "",
        ],
    )
    def test_refused_addresses(
        self,
        check: Command,
        responses: RequestsMock,
        make_example: MakeExample,
        capsys: pytest.CaptureFixture[str],
        url: str,
    ) -> None:
        """No request is sent to a refused address; the refusal is recorded, and a WARNING is logged."""
        if url:
            responses.add_passthru(url)
        example = make_example(url, failures=2, last_checked=timezone.now() - timedelta(days=1))
        for _ in range(PERMANENT_IN_A_ROW + 1):
            assert check() == 0
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 2)
        assert example.last_result.startswith("its address is not allowed: ")
        captured = capsys.readouterr()
        assert f"WARNING package.jobs.example_checks: fortune: example {example.pk}" in captured.err
        assert "Not checked (still active): correct the address, which is not allowed: fortune: example" in captured.out


class TestGoodAnswers:
    @pytest.mark.parametrize("status", [200, 204, 206])
    def test_resets_the_count(
        self, check: Command, responses: RequestsMock, make_example: MakeExample, status: int
    ) -> None:
        """An answer with the page resets the count of failures."""
        example = make_example(failures=2)
        responses.get(EXAMPLE_URL, status=status)
        before = timezone.now()
        check()
        example.refresh_from_db()
        assert (example.active, example.failures, example.last_result) == (True, 0, f"HTTP {status}")
        assert example.last_checked is not None
        assert example.last_checked >= before

    def test_no_other_field_changes(self, check: Command, responses: RequestsMock, example: PackageExample) -> None:
        """A check does not change `modified` or other fields of the example."""
        responses.get(EXAMPLE_URL, status=301, headers={"Location": "https://new.test/"})
        responses.get("https://new.test/")
        check()
        before = PackageExample.objects.values().get()
        assert before["last_result"] == "HTTP 200"
        for name in ("url", "title", "created", "modified", "package_id"):
            assert before[name] == getattr(example, name)

    def test_the_body_is_left_unread(self, check: Command, responses: RequestsMock, example: PackageExample) -> None:
        """The body of a page is not downloaded."""

        class Body(io.BufferedReader):
            def read(self, *_: Any) -> bytes:
                pytest.fail("it was read")

        body = Body(io.BytesIO(b"x"))  # type: ignore[arg-type]
        responses.get(EXAMPLE_URL, body=body)
        check()
        example.refresh_from_db()
        assert example.last_result == "HTTP 200"
        assert body.closed


class TestInactive:
    """Examples that checks made inactive, and examples that a person has hidden."""

    def test_are_left_out(self, check: Command, responses: RequestsMock, make_example: MakeExample) -> None:
        """Inactive examples are checked only with --all."""
        make_example(active=False, failures=3)
        assert check() == 0
        assert not responses.calls

    def test_become_active_again(
        self,
        check: Command,
        responses: RequestsMock,
        make_example: MakeExample,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """With --all, an inactive example whose page answers becomes active."""
        example = make_example(active=False, failures=3)
        responses.get(EXAMPLE_URL)
        assert check("--all") == 0
        example.refresh_from_db()
        assert (example.active, example.failures) == (True, 0)
        [line] = logged(capsys)
        assert f"INFO package.jobs.example_checks: fortune: example {example.pk} (example.test) is active again" in line

    @pytest.mark.parametrize("status", [404, 503])
    def test_stay_inactive(
        self, check: Command, responses: RequestsMock, make_example: MakeExample, status: int
    ) -> None:
        """With --all, an inactive example whose page does not answer stays inactive."""
        example = make_example(active=False, failures=3)
        responses.get(EXAMPLE_URL, status=status)
        check("--all")
        example.refresh_from_db()
        assert (example.active, example.failures) == (False, 3)

    def test_hidden_examples_stay_hidden(
        self, check: Command, responses: RequestsMock, make_example: MakeExample
    ) -> None:
        """An example that a person has hidden is never checked."""
        make_example(active=False, failures=2)
        check("--all")
        assert not responses.calls
