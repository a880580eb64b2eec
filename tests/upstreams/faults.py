"""Faults of answers.

It is set on an upstream,

    github.fault = Half(503)
    github.fault = FirstOf(BlackHole(on="/repos/a/b"), Truncated(on="/repos/c/d"))

and applies to all requests, or to those `on` a path.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import unquote

from aiohttp import web

Answer = web.StreamResponse | None
"""None: the connection is reset."""
Respond = Callable[[], Awaitable[web.Response]]


@dataclass(frozen=True)
class Turn:
    request: web.Request
    respond: Respond
    """Makes the answer that there would be without the fault."""
    lifted: asyncio.Event
    """Set when the fault is."""


@dataclass(eq=False)
class Fault(ABC):
    on: str = field(default="", kw_only=True)
    """Part of a path, in whole segments and unquoted: "/owner/name"."""

    def covers(self, path: str) -> bool:
        return f"{self.on.rstrip('/')}/" in f"{path}/"

    @abstractmethod
    async def play(self, turn: Turn) -> Answer: ...


@dataclass(eq=False)
class Status(Fault):
    status: int = 503
    retry_after: int | str | None = None
    body: str = "out of order"

    async def play(self, turn: Turn) -> Answer:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        kind = "application/json" if self.body.startswith("{") else "text/plain"
        return web.Response(status=self.status, text=self.body, headers=headers, content_type=kind)


class BlackHole(Fault):
    """No answer until the fault is lifted."""

    async def play(self, turn: Turn) -> Answer:
        await turn.lifted.wait()
        return await turn.respond()


class Reset(Fault):
    """The connection is reset as soon as the request is there."""

    async def play(self, turn: Turn) -> Answer:
        return None


class Truncated(Fault):
    """The connection ends in the middle of the body."""

    async def play(self, turn: Turn) -> Answer:
        stream, body = await _begin(turn.request, await turn.respond(), promised=1)
        await stream.write(body[: len(body) // 2])
        _close(turn.request)
        return stream


@dataclass(eq=False)
class Trickle(Fault):
    """The body comes byte by byte, until the fault is lifted."""

    every: float = 0.05

    async def play(self, turn: Turn) -> Answer:
        stream, body = await _begin(turn.request, await turn.respond())
        while body and not turn.lifted.is_set():
            await stream.write(body[:1])
            body = body[1:]
            with suppress(TimeoutError):
                await asyncio.wait_for(turn.lifted.wait(), self.every)
        await stream.write(body)
        return stream


class NotJSON(Fault):
    """A page of a proxy, with status 200."""

    async def play(self, turn: Turn) -> Answer:
        return web.Response(text="<!DOCTYPE html><title>Please wait…</title>", content_type="text/html")


@dataclass(eq=False)
class JSON(Fault):
    """Valid JSON of any type."""

    value: Any = None

    async def play(self, turn: Turn) -> Answer:
        return web.json_response(self.value)


class Mistyped(Fault):
    """The right keys, with numbers for strings and strings for everything else."""

    async def play(self, turn: Turn) -> Answer:
        response = await turn.respond()
        if response.status == 200 and response.content_type == "application/json":
            response.text = json.dumps(_mistyped(json.loads(response.text or "")))
        return response


@dataclass(eq=False)
class Huge(Fault):
    """Valid JSON without a Content-Length."""

    size: int = 2**26

    async def play(self, turn: Turn) -> Answer:
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        await stream.prepare(turn.request)
        with contextlib.suppress(ConnectionError):  # the client has had enough
            await stream.write(b'{"description": "')
            for _ in range(self.size // 2**16):
                await stream.write(b"-" * 2**16)
            await stream.write(b'"}')
        return stream


@dataclass(eq=False)
class Packed(Fault):
    """Other JSON than is due, as small as gzip makes it."""

    body: bytes = b"{}"

    def __post_init__(self) -> None:
        self.body = gzip.compress(self.body)

    async def play(self, turn: Turn) -> Answer:
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.Response(body=self.body, headers=headers)


class BrokenGzip(Fault):
    async def play(self, turn: Turn) -> Answer:
        body = gzip.compress(b'{"description": "for the greater part not gzip"}')[:10] + b"\xff" * 100
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return web.Response(body=body, headers=headers)


@dataclass(eq=False)
class Sequence(Fault):
    """One after the other, then from the beginning; None: an answer in good order."""

    faults: list[Fault | None]
    _next: Iterator[Fault | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._next = itertools.cycle(self.faults)

    async def play(self, turn: Turn) -> Answer:
        fault = next(self._next)
        return await (fault.play(turn) if fault else turn.respond())


def Half(status: int, *, seed: int = 1, on: str = "") -> Sequence:  # noqa: N802 - used as a class like the others
    """Fail half of the requests, in no order that one could see, and never nine in a row."""
    chance = Random(seed)
    faults: list[Fault | None] = []
    for _ in range(100):
        block = [Status(status)] * 4 + [None] * 4
        chance.shuffle(block)
        faults += block
    return Sequence(faults, on=on)


class FirstOf(Fault):
    """Several faults, of which the first that matches the path is used."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__()
        self.faults = faults

    def covers(self, path: str) -> bool:
        return any(fault.covers(path) for fault in self.faults)

    async def play(self, turn: Turn) -> Answer:
        fault = next(fault for fault in self.faults if fault.covers(unquote(turn.request.path)))
        return await fault.play(turn)


def reset(request: web.Request) -> None:
    """Send an RST instead of the rest of the answer."""
    if request.transport:
        opened = request.transport.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()


def _close(request: web.Request) -> None:
    if request.transport:
        request.transport.close()


async def _begin(
    request: web.Request, response: web.Response, *, promised: int = 0
) -> tuple[web.StreamResponse, bytes]:
    """Send the head of `response`, whose Content-Length is too large; return the rest of the answer."""
    body = response.body if isinstance(response.body, bytes) else b""
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(body) + promised
    await stream.prepare(request)
    return stream, body


def _mistyped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mistyped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mistyped(item) for item in value]
    return 7 if isinstance(value, str) else "seven"
