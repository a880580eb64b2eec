"""One service: its address, its requests and its behavior.

Its attributes may be set and its methods called from any thread; requests are answered in one event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar
from urllib.parse import unquote

from aiohttp import web

from tests.upstreams.answering import Answered, Page, asked_number, cut_page, json_answer
from tests.upstreams.faults import Fault, Respond, Turn, reset
from tests.upstreams.fetches import Fetches
from tests.upstreams.quota import Quota
from tests.upstreams.repositories import FakeRepo
from tests.upstreams.requested import RequestLog
from tests.upstreams.world import World

Handler = Callable[[web.Request], Any]


class Upstream(ABC):
    sends_validators: ClassVar[bool] = False
    """Whether the real service sends ETags, and dates where it has them."""

    def __init__(self, world: World, kind: str = "", *, latency: float = 0.0, remember: bool = True) -> None:
        self.world = world
        self.kind = kind
        self.url = ""
        self.latency = latency
        self.validators = self.sends_validators
        self.quota: Quota | None = None
        self.requests = RequestLog(remember)
        self.fetches = Fetches()
        self._removed: dict[str, int] = {}
        self._endless: set[str] = set()
        self._elsewhere: dict[str, str] = {}
        self._fault: Fault | None = None
        self._lifted = asyncio.Event()

    # How it behaves

    @property
    def fault(self) -> Fault | None:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._fault = fault
        lifted, self._lifted = self._lifted, asyncio.Event()
        if self.url:
            self._loop.call_soon_threadsafe(lifted.set)

    def rename(self, old: str, new: str) -> None:
        """Move a repository from one "owner/name" to another."""
        self.world.rename(self.kind, old, new)

    def remove(self, name: str, status: int = 404) -> None:
        """Answer `status` for a repository "owner/name", or a project "name"."""
        self._removed[name.lower()] = status

    def make_empty(self, name: str) -> None:
        """Take all commits from the repository "owner/name"."""
        self.world.make_empty(self.kind, name)

    def page_endlessly(self, name: str) -> None:
        """Let each page of the repository "owner/name" have a next one."""
        self._endless.add(name.lower())

    def page_elsewhere(self, name: str, url: str) -> None:
        """Let each page of the repository "owner/name" name `url` as the next one."""
        self._elsewhere[name.lower()] = url

    def restore(self) -> None:
        """Undo the changes of these methods, except renaming and emptying; remove the fault."""
        self.fault = None
        self._removed, self._endless, self._elsewhere = {}, set(), {}

    # Methods of each service

    @abstractmethod
    def routes(self) -> list[web.RouteDef]: ...

    def missing(self, status: int, name: str) -> web.Response:
        """Answer that there is no repository or project of this name."""
        return web.Response(status=status, text=str(status))

    def moved(self, request: web.Request, repo: FakeRepo) -> web.Response:
        """Answer that the repository has a new name."""
        raise NotImplementedError

    def limits(self, quota: Quota) -> dict[str, str]:
        """Return the headers about the quota."""
        return {}

    def refusal(self, request: web.Request, quota: Quota) -> web.Response:
        return web.Response(status=429, text="Too Many Requests", headers={"Retry-After": str(quota.reset_in)})

    def is_free(self, request: web.Request, response: web.Response) -> bool:
        """Return whether a request does not count against the quota."""
        return False

    def etag(self, request: web.Request, body: bytes) -> str:
        return f'W/"{hashlib.md5(body).hexdigest()}"'

    # Helpers of the services

    def find(self, request: web.Request, name: str) -> FakeRepo:
        """Return the repository "owner/name". Raises `Answered`."""
        repo = self._not_removed(self.world.repo(self.kind, name), name)
        if repo.full_name.lower() != name.lower():
            raise Answered(self.moved(request, repo))
        return repo

    def find_by_id(self, number: str) -> FakeRepo:
        """Return the repository of this number. Raises `Answered`."""
        return self._not_removed(self.world.repo_by_id(self.kind, int(number)) if number.isdecimal() else None, number)

    def _not_removed(self, repo: FakeRepo | None, name: str) -> FakeRepo:
        status = self._removed.get(repo.full_name.lower()) if repo else 404
        if repo is None or status:
            raise Answered(self.missing(status or 404, name))
        return repo

    def json(
        self,
        request: web.Request,
        data: Any,
        headers: Mapping[str, str] | None = None,
        modified: datetime | None = None,
    ) -> web.Response:
        """Answer with `data`, or that it has not changed."""
        body = json.dumps(data).encode()
        etag, modified = (self.etag(request, body), modified) if self.validators else (None, None)
        return json_answer(request, body, dict(headers or {}), etag, modified)

    def page(
        self, request: web.Request, repo: FakeRepo, everything: Sequence[Any], size: str, default: int, most: int
    ) -> Page:
        """Return the requested page; `size` is the name of the parameter for its length."""
        length = min(asked_number(request, size, default), most)
        endless = repo.full_name.lower() in self._endless
        return cut_page(everything, asked_number(request, "page", 1), length, endless=endless)

    def next_url(self, page: Page, repo: FakeRepo, address: Callable[[int], str], *, more: bool | None = None) -> str:
        """Return the URL of the next page, or "". `more`: whether there is one, if not known from the total."""
        name = repo.full_name.lower()
        if name in self._elsewhere:
            return self._elsewhere[name]
        more = page.number < page.last if more is None else more
        return address(page.number + 1) if more or name in self._endless else ""

    # How it runs

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application(middlewares=[self._serve])
        app.add_routes(self.routes())
        app.on_response_prepare.append(self._note)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _note(self, request: web.Request, response: web.StreamResponse) -> None:
        self.requests.note(request, response.status)

    @web.middleware
    async def _serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        with self.requests.under_way(), self.fetches.note(request):
            try:
                if self.latency:
                    await asyncio.sleep(self.latency)
                return await self._answer(request, partial(self._respond, request, handler))
            except asyncio.CancelledError:
                self.requests.note(request, None)  # the client has hung up
                raise

    async def _answer(self, request: web.Request, respond: Respond) -> web.StreamResponse:
        fault, quota = self.fault, self.quota
        if fault is None or not fault.covers(unquote(request.path)):
            return await respond()
        response = await fault.play(Turn(request, respond, self._lifted))
        if response is None:
            self.requests.note(request, None)
            reset(request)
            return web.Response()
        if quota and response.status in {403, 429} and not response.prepared:
            response.headers.update(self.limits(quota))
        return response

    async def _respond(self, request: web.Request, handler: Handler) -> web.Response:
        quota = self.quota
        if quota and not quota.take():
            response = self.refusal(request, quota)
        else:
            response = await self._look_up(request, handler)
            if quota and self.is_free(request, response):
                quota.give_back()
        if quota:
            response.headers.update(self.limits(quota))
        return response

    async def _look_up(self, request: web.Request, handler: Handler) -> web.Response:
        try:
            response: web.Response = await handler(request)
        except Answered as answered:
            return answered.response
        except web.HTTPException as none:
            return self.missing(none.status, request.path)
        return response
