"""The dependencies that FastAPI passes to the endpoints: the providers, which share one client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from outbound_http import WEB_REQUEST, CircuitBreaker
from outbound_http.httpx2 import AsyncResilientClient

from .github import GitHub
from .libraries_io import LibrariesIO
from .settings import Settings


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Create the client when the application starts, and close its connections when the application stops."""
    settings = Settings.from_environment()
    policy = replace(WEB_REQUEST, circuit_breaker=CircuitBreaker(open_for=settings.open_for))
    async with AsyncResilientClient(policy, follow_redirects=True) as client:  # GitHub redirects renamed repositories
        app.state.github = GitHub.configured(client, settings)
        app.state.libraries_io = LibrariesIO.configured(client, settings)
        yield


def _github(request: Request) -> GitHub:
    github: GitHub = request.app.state.github
    return github


def _libraries_io(request: Request) -> LibrariesIO:
    libraries_io: LibrariesIO = request.app.state.libraries_io
    return libraries_io


AskGitHub = Annotated[GitHub, Depends(_github)]
AskLibrariesIO = Annotated[LibrariesIO, Depends(_libraries_io)]
