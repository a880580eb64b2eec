"""The meanings of GitLab's refusals, on gitlab.com and on self-hosted servers. Sources: see docs/refusals.md."""

from __future__ import annotations

from package.repos.refusals import MINUTE, TOO_MANY_REQUESTS, Concern, Refusal, Refusals, statuses, token_refused

_SETTING = "GITLAB_TOKEN, or GITLAB_SERVER_TOKENS for the servers of GITLAB_SERVERS"

REFUSALS = Refusals(
    Refusal(
        # Error codes of OAuth, which GitLab sends only for requests with a token.
        concern=Concern.TOKEN,
        statuses=statuses(401, 403),
        says=r"invalid_token|token (is|was|has been|has) (expired|revoked)",
        text="refuses our token",
        advice=f"Replace the token: {_SETTING}",
    ),
    Refusal(
        concern=Concern.TOKEN,
        statuses=statuses(401, 403),
        says=r"insufficient_(granular_)?scope|requires higher privileges than provided",
        text="refuses our token, which lacks the scope read_api",
        advice=f"Replace the token by one that has the scope read_api: {_SETTING}",
    ),
    Refusal(
        # The tokens of the account work only after its owner has done something in a browser.
        concern=Concern.TOKEN,
        statuses=statuses(401, 403),
        says=(
            r"accept the terms of service|password (has )?expired|account is pending approval"
            r"|account (is|was|has been) (blocked|deactivated|locked)|must (set up|enable) two-factor"
        ),
        text="refuses our token until its account is in order",
        advice=f"Log in to the account that the token belongs to, and do what GitLab requests: {_SETTING}",
    ),
    token_refused(_SETTING),
    Refusal(
        # The plain-text page of Rack::Attack, which bans an IP address for an hour after many failed logins. GitLab
        # itself answers with JSON.
        concern=Concern.SOURCE,
        statuses=statuses(403),
        says=r"\A\s*forbidden\s*\Z|\bip( address)? .{0,60}(blocked|banned)",
        text="refuses our network address for a while",
        advice="Check whether this machine sends wrong passwords or tokens to GitLab",
    ),
    Refusal(
        # The page of Cloudflare, which gitlab.com uses.
        concern=Concern.SOURCE,
        statuses=statuses(403, 503),
        says=r"<title>\s*(checking your browser|just a moment|attention required)",
        header=("cf-mitigated", "challenge"),
        text="blocks us as a bot",
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
        # The project has disabled its repository, or only members may see it.
        concern=Concern.PART,
        statuses=statuses(403),
        says=r"^403 forbidden",
        text="does not provide this part of the project",
    ),
    Refusal(
        # Nothing was ever pushed. For a deleted or private project, the message is "404 Project Not Found".
        concern=Concern.PART,
        statuses=statuses(404),
        says=r"^404 repository not found",
        text="has no such data for a project without a repository",
    ),
    TOO_MANY_REQUESTS,  # older servers send it without rate-limit headers
)
