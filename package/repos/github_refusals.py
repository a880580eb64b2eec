"""The meanings of GitHub's refusals. Sources: GitHub's documentation, and the public reports in docs/refusals.md.

GitHub sends 403 for a dozen unrelated reasons, and only the message says which of them applies.
"""

from __future__ import annotations

from package.repos.refusals import HOUR, MINUTE, TOO_MANY_REQUESTS, Concern, Refusal, Refusals, statuses, token_refused

_SETTING = "GITHUB_TOKEN"

REFUSALS = Refusals(
    Refusal(
        concern=Concern.GONE,
        statuses=statuses(403, 451),
        says=r"repository access blocked|repository has been disabled",
        text="has blocked access to this repository",
    ),
    Refusal(
        # The public repositories of such an organization (or of its enterprise) can be read without a token, but not
        # with this one.
        concern=Concern.OWNER,
        statuses=statuses(403),
        says=(
            r"ip allow list enabled|saml enforcement|forbids access via a|oauth app access restrictions"
            r"|token's lifetime|resource not accessible by (personal access token|integration)"
        ),
        header=("X-GitHub-SSO", r"^\s*required"),
        only_with_token=True,
        text="does not let our token see this repository, because its owner has restricted access",
    ),
    Refusal(
        concern=Concern.PART,
        statuses=statuses(403),
        says=r"too large to list",
        text="does not list the contributors of a repository this large",
    ),
    Refusal(
        concern=Concern.PART,
        statuses=statuses(422),
        says=r"10,?000|too (large|many)|no common ancestor",
        text="computes no statistics for a repository this large",
    ),
    Refusal(
        concern=Concern.PART,
        statuses=statuses(409),
        says=r"repository is empty",
        text="has no such data for a repository without commits",
    ),
    Refusal(
        # After several calls with bad credentials, GitHub refuses even good ones for a while.
        concern=Concern.TOKEN,
        statuses=statuses(401, 403),
        says=r"bad credentials|number of login attempts exceeded",
        text="refuses our token",
        advice=f"Replace the token: {_SETTING}",
    ),
    Refusal(
        concern=Concern.TOKEN,
        statuses=statuses(401, 403),
        says=r"(account|installation) (is|was|has been) suspended|token (is|was|has been|has) (expired|revoked)",
        text="refuses our token",
        advice=f"Check the account that the token belongs to, and replace the token: {_SETTING}",
    ),
    token_refused(_SETTING),
    Refusal(
        # A GitHub Enterprise Server in private mode.
        concern=Concern.SOURCE,
        statuses=statuses(401),
        says=r"must authenticate to access this api",
        text="answers only requests with a token",
        advice=f"Set {_SETTING}",
    ),
    Refusal(
        concern=Concern.SOURCE,
        statuses=statuses(403),
        says=r"forbidden by administrative rules",
        text="refuses our User-Agent",
        advice="Set OUTBOUND_USER_AGENT to a name and a contact address",
    ),
    Refusal(
        concern=Concern.SOURCE,
        statuses=statuses(403),
        says=r"access to this site has been restricted|\bip( address)? (is|has been) (temporarily )?(blocked|banned)",
        text="refuses our network address",
        doubled=True,
        seconds=HOUR / 4,
        advice="Ask GitHub's support for the reason",
    ),
    Refusal(
        # GitHub's documentation: wait as long as the headers say; without them at least a minute, and longer each time.
        concern=Concern.LIMIT,
        statuses=statuses(403, 429),
        says=r"secondary[ -]rate[ -]limit|abuse detection|abuse-rate-limits|rate limit exceeded",
        text="limits our rate",
        seconds=MINUTE,
        doubled=True,
    ),
    TOO_MANY_REQUESTS,
)
