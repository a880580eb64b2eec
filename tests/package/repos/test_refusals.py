"""The meanings of refusals of GitHub and GitLab, with the texts that public reports quote."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from core.http.verdict import Meaning, Verdict
from package.repos import bitbucket, forgejo, github_refusals, gitlab_refusals
from package.repos.refusals import Concern, Refusals, message_of
from package.sources.api_server import Server
from package.sources.auth import sending
from package.sources.errors import AskError, Gone, LeftAlone, NotOffered, TokenUnwelcome, Unusable

GITHUB, GITLAB = github_refusals.REFUSALS, gitlab_refusals.REFUSALS
KINDS: dict[Concern, type[AskError]] = {
    Concern.LIMIT: LeftAlone,
    Concern.SOURCE: LeftAlone,
    Concern.TOKEN: LeftAlone,
    Concern.OWNER: TokenUnwelcome,
    Concern.GONE: Gone,
    Concern.PACKAGE: Unusable,
    Concern.PART: NotOffered,
}
RESETS_LATER = {"X-RateLimit-Limit": "5000", "X-RateLimit-Reset": "4000000000"}


@dataclass
class Case:
    """A response and its expected concern; None if only its status counts."""

    host: Refusals
    status: int
    body: str
    concern: Concern | None
    token: bool = True
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def response(self) -> requests.Response:
        response = requests.Response()
        response.status_code, response.url = self.status, "https://api.test/"
        response.headers, response._content = CaseInsensitiveDict(self.headers), self.body.encode()
        return response

    @property
    def server(self) -> Server:
        return Server("GitHub", "https://api.test", "s3cret" if self.token else "")

    def verdict(self) -> Verdict | None:
        with sending(self.server.token):
            response = self.response
            return self.host.classify(response.status_code, response.headers, response.content)

    def error(self) -> AskError | None:
        return self.host.error(self.server, self.response)


def github(status: int, message: str, concern: Concern | None, *, token: bool = True, **more: Any) -> Case:
    """Return a refusal as GitHub sends it, with quota left. `more`: further keys. `headers`: further headers."""
    headers = {**RESETS_LATER, "X-RateLimit-Remaining": "4321", **more.pop("headers", {})}
    body = {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status), **more}
    return Case(GITHUB, status, json.dumps(body), concern, token, headers)


def gitlab(
    status: int, body: dict[str, Any] | str, concern: Concern | None, *, token: bool = True, **headers: str
) -> Case:
    return Case(GITLAB, status, body if isinstance(body, str) else json.dumps(body), concern, token, headers)


ALLOW_LIST = (
    "Although you appear to have the correct authorization credentials, the `acme` organization has an IP allow list "
    "enabled, and your IP address is not permitted to access this resource."
)
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
BLOCKED = "Repository access blocked"

CASES = {
    # GitHub: how often it is asked
    "secondary limit": github(403, SECONDARY, Concern.LIMIT),
    "secondary limit, 429": github(429, SECONDARY, Concern.LIMIT),
    "secondary limit, by its page only": github(
        403,
        "Forbidden",
        Concern.LIMIT,
        documentation_url="https://docs.github.com/rest/overview/resources#secondary-rate-limits",
    ),
    "abuse detection": github(
        403, "You have triggered an abuse detection mechanism. Please wait a few minutes.", Concern.LIMIT
    ),
    "abuse detection, by its page only": github(
        403, "Wait", Concern.LIMIT, documentation_url="https://developer.github.com/v3/#abuse-rate-limits"
    ),
    "primary limit": github(
        403, "API rate limit exceeded for user ID 1.", Concern.LIMIT, headers={"X-RateLimit-Remaining": "0"}
    ),
    "429 that says nothing": Case(GITHUB, 429, "", Concern.LIMIT),
    "429, a page": Case(GITHUB, 429, "<html><title>Too many requests</title></html>", Concern.LIMIT, token=False),
    # GitHub: the token
    "bad credentials": github(401, "Bad credentials", Concern.TOKEN),
    "a 401 in other words": github(401, "A JSON web token could not be decoded", Concern.TOKEN),
    "one-time password": github(401, "Must specify two-factor authentication OTP code.", Concern.TOKEN),
    "suspended account": github(403, "Sorry. Your account was suspended", Concern.TOKEN),
    "suspended installation": github(403, "This installation has been suspended", Concern.TOKEN),
    "too many bad credentials": github(
        403, "Maximum number of login attempts exceeded. Please try again later.", Concern.TOKEN
    ),
    # GitHub: the owner refuses the token
    "IP allow list": github(403, ALLOW_LIST, Concern.OWNER),
    "SAML": github(403, "Resource protected by organization SAML enforcement.", Concern.OWNER),
    "SAML, by its header only": github(
        403, "Forbidden", Concern.OWNER, headers={"X-GitHub-SSO": "required; url=https://github.com/orgs/acme/sso"}
    ),
    "classic token": github(403, "`acme` forbids access via a personal access token (classic).", Concern.OWNER),
    "fine-grained token": github(
        403, "`acme` forbids access via a personal access token with fine-grained permissions.", Concern.OWNER
    ),
    "lifetime of a fine-grained token": github(
        403,
        "The 'acme' organization forbids access via a fine-grained token if the token's lifetime is too long",
        Concern.OWNER,
    ),
    "lifetime, by the enterprise": github(
        403,
        "The 'Acme' enterprise forbids access via a token (classic) if the token's lifetime is too long",
        Concern.OWNER,
    ),
    "OAuth app": github(
        403,
        "The `acme` organization has enabled OAuth App access restrictions, meaning that access is limited",
        Concern.OWNER,
    ),
    "not for this token": github(403, "Resource not accessible by personal access token", Concern.OWNER),
    "not for this app": github(403, "Resource not accessible by integration", Concern.OWNER),
    "last call of the quota": github(403, ALLOW_LIST, Concern.OWNER, headers={"X-RateLimit-Remaining": "0"}),
    "an owner with a strange name": github(403, ALLOW_LIST.replace("acme", "secondary-rate-limit"), Concern.OWNER),
    # GitHub: the repository
    "blocked, tos": github(403, BLOCKED, Concern.GONE, block={"reason": "tos", "html_url": "https://github.com/tos"}),
    "blocked, dmca": github(451, BLOCKED, Concern.GONE, block={"reason": "dmca"}),
    "blocked, and nobody knows why": github(403, BLOCKED, Concern.GONE, block=None),
    "contributors": github(
        403, "The history or contributor list is too large to list contributors for this repository", Concern.PART
    ),
    "statistics": github(422, "This repository contains 10,000 or more commits", Concern.PART),
    "empty": github(409, "Git Repository is empty.", Concern.PART),
    # GitHub: this site
    "no User-Agent": Case(
        GITHUB,
        403,
        "\r\nRequest forbidden by administrative rules. Please send a User-Agent header\r\n",
        Concern.SOURCE,
    ),
    "our address": Case(GITHUB, 403, "<h1>Access to this site has been restricted.</h1>", Concern.SOURCE, token=False),
    "private mode": github(401, "Must authenticate to access this API.", Concern.SOURCE, token=False),
    # GitHub: nothing that the status does not say
    "404": github(404, "Not Found", None),
    "401 without a token": github(401, "Requires authentication", None, token=False),
    "403 for another reason": github(403, "Must have admin rights to Repository.", None),
    "422 for another reason": github(422, "Validation Failed", None),
    "409 for another reason": github(409, "Conflict", None),
    "a token that is refused, without one": github(403, ALLOW_LIST, None, token=False),
    "an answer": github(200, SECONDARY, None),
    "a server in trouble": github(502, SECONDARY, None),
    # GitLab
    "GitLab: revoked": gitlab(
        401, {"error": "invalid_token", "error_description": "Token was revoked."}, Concern.TOKEN
    ),
    "GitLab: expired, 403": gitlab(403, {"message": "403 Forbidden - Token has expired"}, Concern.TOKEN),
    "GitLab: expired": gitlab(401, {"error": "invalid_token", "error_description": "Token is expired."}, Concern.TOKEN),
    "GitLab: unknown token": gitlab(401, {"message": "401 Unauthorized"}, Concern.TOKEN),
    "GitLab: 401 without a token": gitlab(401, {"message": "401 Unauthorized"}, None, token=False),
    "GitLab: scope": gitlab(
        403,
        {
            "error": "insufficient_scope",
            "error_description": "The request requires higher privileges than provided",
            "scope": "api read_api",
        },
        Concern.TOKEN,
    ),
    "GitLab: terms": gitlab(
        403, {"message": "403 Forbidden  - You (@bot) must accept the Terms of Service"}, Concern.TOKEN
    ),
    "GitLab: password": gitlab(403, {"message": "403 Forbidden - Your password expired."}, Concern.TOKEN),
    "GitLab: blocked account": gitlab(
        403, {"message": "403 Forbidden - Your account has been blocked."}, Concern.TOKEN
    ),
    "GitLab: feature": gitlab(403, {"message": "403 Forbidden"}, Concern.PART),
    "GitLab: feature, without a token": gitlab(403, {"message": "403 Forbidden"}, Concern.PART, token=False),
    "GitLab: nothing pushed": gitlab(404, {"message": "404 Repository Not Found"}, Concern.PART, token=False),
    "GitLab: gone": gitlab(404, {"message": "404 Project Not Found"}, None),
    "GitLab: external authorization": gitlab(
        403, {"message": "External authorization denied access to this project"}, Concern.PACKAGE
    ),
    "GitLab: banned address": gitlab(403, "Forbidden\n", Concern.SOURCE, token=False),
    "GitLab: blocked address": gitlab(403, {"message": "Your IP address has been blocked"}, Concern.SOURCE),
    "GitLab: robot": gitlab(
        403, "<!DOCTYPE html>\n<html>\n<head>\n  <title>Checking your Browser - GitLab</title>", Concern.SOURCE
    ),
    "GitLab: robot, by the header only": gitlab(403, "<html>", Concern.SOURCE, **{"cf-mitigated": "challenge"}),
    "GitLab: 429": gitlab(429, "Retry later\n", Concern.LIMIT),
    "GitLab: private": gitlab(404, {"message": "404 Project Not Found"}, None),
    "GitLab: another 403": gitlab(403, {"message": {"base": ["no"]}}, None),
    "GitLab: no words": gitlab(403, "", None),
}


@pytest.mark.parametrize("name", CASES)
def test_whom_it_concerns(name: str) -> None:
    """The error that the source status records has the expected type."""
    case = CASES[name]
    error = case.error()
    if case.concern is None:
        assert error is None
        return
    assert type(error) is KINDS[case.concern]
    assert re.search(rf"^GitHub [a-z].* \(HTTP {case.status}\)(: \w+)?$", str(error))
    assert "s3cret" not in str(error)


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_for_core_http(name: str) -> None:
    """Refusals that concern all packages pause the upstream; the others are permanent failures."""
    case = CASES[name]
    verdict = case.verdict()
    if case.concern is None:
        assert verdict is None
    elif case.concern in {Concern.LIMIT, Concern.SOURCE, Concern.TOKEN}:
        assert verdict is not None
        assert verdict.meaning is Meaning.RATE_LIMITED
        assert str(case.error()).startswith(f"GitHub {verdict.why} (HTTP ")
    else:
        assert verdict == Verdict.permanent()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.concern is Concern.TOKEN])
def test_a_token_is_left_alone_for_an_hour(name: str) -> None:
    """A refused token is paused for an hour, with advice for operators."""
    error, verdict = CASES[name].error(), CASES[name].verdict()
    assert isinstance(error, LeftAlone)
    assert verdict is not None
    assert (verdict.seconds, verdict.doubled, error.reason) == (3600, False, "unauthorized")
    assert "_TOKEN" in error.advice
    assert error.retry_at is not None
    assert timedelta(minutes=59) < error.retry_at - datetime.now(UTC) <= timedelta(hours=1)


DATE = datetime(2026, 11, 27, 12, tzinfo=UTC)
IN_TEN_MINUTES = str(round(DATE.timestamp()) + 600)


class TestWait:
    """The duration of a rate-limit pause. GitHub's rule: as the headers say, otherwise a minute, then longer."""

    @pytest.mark.parametrize("status", [403, 429])
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, 60),
            ({"X-RateLimit-Remaining": "14", "X-RateLimit-Reset": IN_TEN_MINUTES}, 60),
            ({"Retry-After": "0"}, 60),
            ({"Retry-After": "soon"}, 60),
            ({"X-RateLimit-Remaining": "0"}, 60),
            ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(round(DATE.timestamp()))}, 60),
            ({"Retry-After": "7"}, None),
            ({"Retry-After": "300", "X-RateLimit-Remaining": "4321"}, None),
            ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": IN_TEN_MINUTES}, None),
        ],
    )
    def test_is_that_of_the_headers_or_a_minute(
        self, headers: dict[str, str], seconds: float | None, status: int
    ) -> None:
        """Resets in the past and quotas with calls left are ignored."""
        headers = {"Date": format_datetime(DATE, usegmt=True), "X-RateLimit-Limit": "5000", **headers}
        verdict = Case(GITHUB, status, json.dumps({"message": SECONDARY}), None, headers=headers).verdict()
        assert verdict is not None
        assert (verdict.meaning, verdict.seconds) == (Meaning.RATE_LIMITED, seconds)
        assert verdict.doubled is (seconds is not None)

    @pytest.mark.parametrize(("asked", "seconds"), [("", 60), ("300", 300), ("86400", 3600)])
    def test_pauses_the_job(self, asked: str, seconds: int) -> None:
        """The job pauses for at most an hour, as core.http does."""
        headers = {"Retry-After": asked} if asked else {}
        error = Case(GITHUB, 403, json.dumps({"message": SECONDARY}), None, headers=headers).error()
        assert isinstance(error, LeftAlone)
        assert error.retry_at is not None
        assert (error.retry_at - datetime.now(UTC)).total_seconds() == pytest.approx(seconds, abs=9)
        assert not error.advice


class TestMessage:
    """The message of a response."""

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (None, ""),
            (b"", ""),
            (b"Retry LATER\n", "retry later\n"),
            (b'{"message": "Bad Credentials", "x": "secondary rate limit"}', "bad credentials"),
            (b'{"message": "the \\u0027acme\\u0027 organization"}', "the 'acme' organization"),
            (b'{"error": "a", "error_description": "b", "message": ""}', "a\nb"),
            (b'{"message": {"base": ["c"]}}', "{'base': ['c']}"),
            (b'"Forbidden"', "forbidden"),
            (b"[1]", ""),
            (b"null", ""),
            (b"[" * 60_000, "[" * 60_000),
            (b"\xff\xfe", "��"),
        ],
    )
    def test_the_message_of_a_refusal(self, body: bytes | None, message: str) -> None:
        """The message is read from known keys of JSON, otherwise it is the whole text; never raises."""
        assert message_of(body) == message

    @pytest.mark.parametrize(("before", "limited"), [(65_000, True), (65_536, False)])
    def test_is_looked_for_at_the_beginning(self, before: int, limited: bool) -> None:
        """Only the first 64 KiB are searched."""
        case = Case(GITHUB, 403, " " * before + SECONDARY, None)
        assert (case.error() is not None) is limited

    def test_that_is_long_takes_no_time(self) -> None:
        """Long messages do not slow the regular expressions down."""
        body = "ip address " * 5_000
        started = datetime.now(UTC)
        assert Case(GITLAB, 403, body, None).error() is None
        assert Case(GITHUB, 403, body, None).error() is None
        assert datetime.now(UTC) - started < timedelta(seconds=1)


@pytest.mark.parametrize("module", [bitbucket, forgejo])
@pytest.mark.parametrize("token", [True, False])
def test_hosts_with_less_to_say(module: Any, token: bool) -> None:
    """Without a matching row, a 401 to a request with a token concerns the token, any other the package."""
    case = Case(module._REFUSALS, 401, '{"message": "invalid username, password or token"}', None, token)
    error, verdict = case.error(), case.verdict()
    assert (error is not None) is (verdict is not None) is token
    if isinstance(error, LeftAlone):
        assert error.reason == "unauthorized"


def test_the_documented_tables_are_the_real_ones() -> None:
    """docs/refusals.md has a row for each row of the tables, with its concern and text."""
    page = (Path(__file__).parents[3] / "docs" / "refusals.md").read_text()
    for host, following in (("## GitHub", "## GitLab"), ("## GitLab", "## Others"), ("## Others", "## Where")):
        part = page[page.index(host) : page.index(following)]
        shown = [tuple(cell.strip() for cell in row.split("|")[2:4]) for row in part.splitlines() if "| `" in row]
        tables = {"## GitHub": [GITHUB], "## GitLab": [GITLAB]}.get(host, [forgejo._REFUSALS, bitbucket._REFUSALS])
        real = [(f"`{row.concern}`", row.text) for table in tables for row in table.rows]
        assert shown == real
