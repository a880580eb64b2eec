"""What GitLab's refusals mean, on gitlab.com and on servers of one's own. Sources: see docs/refusals.md."""

from __future__ import annotations

from package.repos.refusals import MINUTE, TOO_MANY_REQUESTS, Concern, Refusal, Refusals, statuses, token_refused

_SETTING = "GITLAB_TOKEN, or GITLAB_SERVER_TOKENS for the servers of GITLAB_SERVERS"

REFUSALS = Refusals(
    Refusal(
        # OAuth's own words, which come with a token only.
        concern=Concern.TOKEN,
        statuses=statuses(401, 403),
        says=r"invalid_token|token (is|was|has been|has) (expired|revoked)",
        text="refuses our token",
        advice=f"Replace it: {_SETTING}",
    ),
    Refusal(
        concern=Concern.TOKEN,
        statuses=statuses(401, 403),
        says=r"insufficient_(granular_)?scope|requires higher privileges than provided",
        text="refuses our token, which lacks the scope read_api",
        advice=f"Replace it by one that has the scope read_api: {_SETTING}",
    ),
    Refusal(
        # The account has to do something in a browser before its tokens work.
        concern=Concern.TOKEN,
        statuses=statuses(401, 403),
        says=(
            r"accept the terms of service|password (has )?expired|account is pending approval"
            r"|account (is|was|has been) (blocked|deactivated|locked)|must (set up|enable) two-factor"
        ),
        text="refuses our token until its account is in order",
        advice=f"Log in to the account that the token belongs to, and do what GitLab asks for: {_SETTING}",
    ),
    token_refused(_SETTING),
    Refusal(
        # Rack::Attack's own page. It bans an address for an hour after many failed logins; JSON is from GitLab itself.
        concern=Concern.SOURCE,
        statuses=statuses(403),
        says=r"\A\s*forbidden\s*\Z|\bip( address)? .{0,60}(blocked|banned)",
        text="refuses our network address for a while",
        advice="Look whether this machine sends it wrong passwords or tokens",
    ),
    Refusal(
        # Cloudflare, in front of gitlab.com.
        concern=Concern.SOURCE,
        statuses=statuses(403, 503),
        says=r"<title>\s*(checking your browser|just a moment|attention required)",
        header=("cf-mitigated", "challenge"),
        text="takes us for a robot that it does not want",
        seconds=5 * MINUTE,
        doubled=True,
    ),
    Refusal(
        concern=Concern.PACKAGE,
        statuses=statuses(403),
        says=r"external authorization",
        text="does not let us see this project",
    ),
    Refusal(
        # The repository is switched off in the project, or for its members only.
        concern=Concern.PART,
        statuses=statuses(403),
        says=r"^403 forbidden",
        text="does not show this of the project",
    ),
    Refusal(
        # Nothing was ever pushed. A project that is gone, or private, is "404 Project Not Found".
        concern=Concern.PART,
        statuses=statuses(404),
        says=r"^404 repository not found",
        text="has nothing to tell of a project without a repository",
    ),
    TOO_MANY_REQUESTS,  # without the headers that newer servers send
)
