"""What GitHub's refusals mean. Sources: its documentation, and the public reports that docs/refusals.md names.

GitHub answers 403 for a dozen reasons that have nothing in common, and only the message tells which.
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
        # Public repositories of such an organization are readable by everybody, but not with this token. The enterprise
        # above it may have the same rules.
        concern=Concern.OWNER,
        statuses=statuses(403),
        says=(
            r"ip allow list enabled|saml enforcement|forbids access via a|oauth app access restrictions"
            r"|token's lifetime|resource not accessible by (personal access token|integration)"
        ),
        header=("X-GitHub-SSO", r"^\s*required"),
        only_with_token=True,
        text="does not let our token see this repository, as its owner has decided",
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
        text="works out no statistics of a repository this large",
    ),
    Refusal(
        concern=Concern.PART,
        statuses=statuses(409),
        says=r"repository is empty",
        text="has nothing to tell of a repository without commits",
    ),
    Refusal(
        # After several calls with bad credentials, GitHub refuses even good ones for a while.
        concern=Concern.TOKEN,
        statuses=statuses(401, 403),
        says=r"bad credentials|number of login attempts exceeded",
        text="refuses our token",
        advice=f"Replace it: {_SETTING}",
    ),
    Refusal(
        concern=Concern.TOKEN,
        statuses=statuses(401, 403),
        says=r"(account|installation) (is|was|has been) suspended|token (is|was|has been|has) (expired|revoked)",
        text="refuses our token",
        advice=f"Look at the account that the token belongs to, and replace the token: {_SETTING}",
    ),
    token_refused(_SETTING),
    Refusal(
        # A GitHub Enterprise Server in private mode.
        concern=Concern.SOURCE,
        statuses=statuses(401),
        says=r"must authenticate to access this api",
        text="answers only those who have a token",
        advice=f"Give it one: {_SETTING}",
    ),
    Refusal(
        concern=Concern.SOURCE,
        statuses=statuses(403),
        says=r"forbidden by administrative rules",
        text="refuses our User-Agent",
        advice="Give a name and an address: OUTBOUND_USER_AGENT",
    ),
    Refusal(
        concern=Concern.SOURCE,
        statuses=statuses(403),
        says=r"access to this site has been restricted|\bip( address)? (is|has been) (temporarily )?(blocked|banned)",
        text="refuses our network address",
        doubled=True,
        seconds=HOUR / 4,
        advice="Ask GitHub's support why",
    ),
    Refusal(
        # Its documentation: wait as the headers say, otherwise at least a minute, and longer each time.
        concern=Concern.LIMIT,
        statuses=statuses(403, 429),
        says=r"secondary[ -]rate[ -]limit|abuse detection|abuse-rate-limits|rate limit exceeded",
        text="limits our rate",
        seconds=MINUTE,
        doubled=True,
    ),
    TOO_MANY_REQUESTS,
)
