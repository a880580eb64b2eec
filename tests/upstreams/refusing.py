"""Refusals, with any text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from tests.upstreams.faults import Answer, Fault, Turn
from tests.upstreams.requested import authorization


@dataclass(eq=False)
class Refusing(Fault):
    """Refuse, or only those with a token (True), or without one (False)."""

    status: int
    says: str | Mapping[str, object]
    """Plain text, or what becomes JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)
    with_token: bool | None = field(default=None, kw_only=True)

    async def play(self, turn: Turn) -> Answer:
        if self.with_token not in {None, bool(authorization(turn.request))}:
            return await turn.respond()
        if isinstance(self.says, str):
            return web.Response(status=self.status, text=self.says, headers=self.headers)
        body = json.dumps(self.says)
        return web.Response(status=self.status, text=body, headers=self.headers, content_type="application/json")
