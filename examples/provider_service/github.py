"""GitHub's REST API: https://docs.github.com/en/rest/repos/repos#get-a-repository."""

from __future__ import annotations

from outbound_http.httpx2 import AsyncResilientClient

from .models import Part, Repository
from .provider import Provider
from .settings import Settings


class GitHub(Provider[Repository]):
    name = "github"
    model = Repository

    @classmethod
    def configured(cls, client: AsyncResilientClient, settings: Settings) -> GitHub:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        if settings.github_token:
            headers["Authorization"] = f"Bearer {settings.github_token.get_secret_value()}"
        return cls(client, settings.github_url, headers, {})

    async def repository(self, name: str) -> Part[Repository]:
        """Return GitHub's data about the repository `name`, which is "owner/name"."""
        return await self.ask(f"repos/{name}")
