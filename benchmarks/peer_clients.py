# ruff: noqa: PLC0415 - each library is imported where it is used, because it may not be installed
"""The clients that `benchmarks.peers` compares with requests, each with its defaults.

Clients that are not installed are omitted.

As a program, run by another Python, it makes calls for `benchmarks.peers` with one of the clients. niquests replaces
urllib3 with a fork that `core.http` rejects, so it needs its own environment.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import json
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Protocol


class Answer(Protocol):
    """The part of a response that all clients have in common."""

    @property
    def content(self) -> bytes: ...

    def json(self) -> Any: ...


Get = Callable[[str], Answer]
Times = tuple[float, float]
"""CPU seconds and elapsed seconds."""


def one_after_the_other(get: Get, url: str, calls: int) -> Times:
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        _ = get(url).content
    return time.process_time() - cpu, time.perf_counter() - began


def with_json(get: Get, url: str, calls: int) -> Times:
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        get(url).json()
    return time.process_time() - cpu, time.perf_counter() - began


class _Body:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def json(self) -> Any:
        return json.loads(self.content)


def _tenacity(_: str) -> Get:
    import requests
    import tenacity

    decorated: Get = tenacity.retry(stop=tenacity.stop_after_attempt(4))(requests.Session().get)
    return decorated


def _urllib3(ca: str) -> Get:
    import urllib3

    pool = urllib3.PoolManager(ca_certs=ca)
    return lambda url: _Body(pool.request("GET", url).data)


def _httpx(ca: str) -> Get:
    import httpx

    get: Get = httpx.Client(verify=ssl.create_default_context(cafile=ca)).get
    return get


def _httpx2(ca: str) -> Get:
    import httpx2

    get: Get = httpx2.Client(verify=ssl.create_default_context(cafile=ca)).get
    return get


def _niquests(ca: str) -> Get:
    import niquests

    session = niquests.Session()
    session.verify = ca
    get: Get = session.get
    return get


def _aiohttp(ca: str) -> Get:
    import aiohttp

    loop, context = asyncio.new_event_loop(), ssl.create_default_context(cafile=ca)

    async def opened() -> Any:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))

    session = loop.run_until_complete(opened())
    atexit.register(lambda: loop.run_until_complete(session.close()))

    async def read(url: str) -> bytes:
        async with session.get(url) as response:
            content: bytes = await response.read()
            return content

    return lambda url: _Body(loop.run_until_complete(read(url)))


def _httpware(ca: str) -> Get:
    import httpx2
    from httpware import Client

    client = Client(httpx2_client=httpx2.Client(verify=ssl.create_default_context(cafile=ca)))
    get: Get = client.get
    return get


def _clientwright(_: str) -> Get:
    from clientwright import ClientConfig, build_sync

    get: Get = build_sync("requests", ClientConfig(service_name="peers")).get
    return get


def _pycurl(ca: str) -> Get:
    import pycurl

    curl = pycurl.Curl()
    curl.setopt(pycurl.CAINFO, ca)
    curl.setopt(pycurl.ACCEPT_ENCODING, "")

    def get(url: str) -> Answer:
        body = io.BytesIO()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.WRITEDATA, body)
        curl.perform()
        return _Body(body.getvalue())

    return get


_MAKERS: dict[str, Callable[[str], Get]] = {
    "tenacity": _tenacity,
    "urllib3": _urllib3,
    "httpx": _httpx,
    "httpx2": _httpx2,
    "niquests": _niquests,
    "aiohttp": _aiohttp,
    "httpware": _httpware,
    "clientwright": _clientwright,
    "pycurl": _pycurl,
}


def serve(name: str, ca: str) -> None:
    """Print the name and version; then, for each input line "way calls url", print the times of these calls."""
    get = _MAKERS[name](ca)
    print(f"{name} {version(name)}", flush=True)  # noqa: T201 - read by the parent
    for line in sys.stdin:
        way, calls, url = line.split()
        took = {"with_json": with_json}.get(way, one_after_the_other)(get, url, int(calls))
        print(json.dumps(took), flush=True)  # noqa: T201 - as above


def installed(ca: str) -> dict[str, Get]:
    """Return the clients that can be imported, by name and version. `ca` is the file of trusted authorities."""
    found = {}
    for name, make in _MAKERS.items():
        with suppress(ImportError):
            found[f"{name} {version(name)}"] = make(ca)
    return found


if __name__ == "__main__":
    serve(*sys.argv[1:])
