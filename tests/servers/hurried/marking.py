"""Mark each request with its fetch, so that the servers can see if two did the same at once."""

from __future__ import annotations

import os
import threading
from itertools import count
from typing import Any

import requests

from core.http import ResilientSession
from package.jobs.fetching import Work
from package.sources.sessions import Sessions
from tests.upstreams.fetches import HEADER

_here = threading.local()


def mark_fetches() -> None:
    do, send, number = Work.do, ResilientSession.send, count()

    def marked_do(work: Work, through: Sessions) -> None:
        source = "+".join(sorted({part.source for part in work._parts}))  # one; all of them where a visitor waits
        _here.mark = f"{work.package.slug} {source} {os.getpid()}.{next(number)}"
        do(work, through)

    def marked_send(session: ResilientSession, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        request.headers[HEADER] = _here.mark
        return send(session, request, **how)

    Work.do, ResilientSession.send = marked_do, marked_send  # type: ignore[method-assign]
