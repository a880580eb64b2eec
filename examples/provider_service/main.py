"""The application. Run it with `uvicorn provider_service.main:app`."""

from __future__ import annotations

import asyncio
import logging
import math
from datetime import UTC, datetime
from typing import Annotated

from fastapi import FastAPI, HTTPException, Path, Query

from . import metrics
from .dependencies import AskGitHub, AskLibrariesIO, lifespan
from .models import NOT_FOUND, Package, Part, Release, Repository

# uvicorn configures only its own loggers. Without this line, log lines at INFO are lost, such as that a breaker closed.
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
logging.getLogger("httpx2").setLevel(logging.WARNING)  # httpx2 logs each response at INFO

app = FastAPI(title="Packages", lifespan=lifespan)
app.include_router(metrics.router)

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
RepositoryName = Annotated[str, Query(pattern=r"^[A-Za-z0-9-]+/[\w.-]*[\w-][\w.-]*$", examples=["django/django"])]
UNAVAILABLE = "No provider has data, neither now nor from an earlier request"


@app.get("/packages/{name}", responses={404: {"description": "Unknown to both"}, 503: {"description": UNAVAILABLE}})
async def package(name: Name, repository: RepositoryName, github: AskGitHub, libraries_io: AskLibrariesIO) -> Package:
    """Return the data of the providers about a package on PyPI.

    If one provider is down, its part contains its last data, and the part of the other provider is fresh.
    """
    repository_part, release_part = await asyncio.gather(github.repository(repository), libraries_io.release(name))
    if repository_part.data is None and release_part.data is None:
        raise _no_data(repository_part, release_part)
    return Package(name=name, github=repository_part, libraries_io=release_part)


def _no_data(github: Part[Repository], libraries_io: Part[Release]) -> HTTPException:
    """Return the error if no provider has data. It says why and, if a provider is paused, when to try again."""
    if github.problem == libraries_io.problem == NOT_FOUND:
        return HTTPException(404, NOT_FOUND)
    problem = f"GitHub: {github.problem}. Libraries.io: {libraries_io.problem}."
    times = [part.retry_at for part in (github, libraries_io) if part.retry_at]
    if not times:
        return HTTPException(503, problem)
    seconds = math.ceil((min(times) - datetime.now(UTC)).total_seconds())
    return HTTPException(503, problem, {"Retry-After": str(max(seconds, 1))})
