"""Libraries.io's API: https://libraries.io/api#project."""

from __future__ import annotations

from outbound_http.httpx2 import AsyncResilientClient

from .models import Part, Release
from .provider import Provider
from .settings import Settings


class LibrariesIO(Provider[Release]):
    name = "libraries_io"
    model = Release

    @classmethod
    def configured(cls, client: AsyncResilientClient, settings: Settings) -> LibrariesIO:
        key = settings.libraries_io_key
        return cls(client, settings.libraries_io_url, {}, {"api_key": key.get_secret_value()} if key else {})

    async def release(self, name: str) -> Part[Release]:
        """Return the data of Libraries.io about a package on PyPI."""
        return await self.ask(f"pypi/{name}")
