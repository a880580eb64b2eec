"""A provider. It is called for each request, and its last data is kept for times when it is down."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import ClassVar, Generic

import httpx2
from outbound_http import NotSent, process
from outbound_http.events import FallbackServed
from outbound_http.httpx2 import AsyncResilientClient

from .models import NOT_FOUND, Data, Part

MOST_KEPT = 10_000
"""Maximum number of parts that are kept. The least recently refreshed part is dropped first."""


class Provider(Generic[Data]):
    name: ClassVar[str]
    model: type[Data]

    def __init__(self, client: AsyncResilientClient, url: str, headers: dict[str, str], query: dict[str, str]) -> None:
        """Prepare the provider. `headers` and `query` are sent with each request, and contain the credentials."""
        self._client = client
        self._url = url
        self._headers = headers
        self._query = query
        self._kept: OrderedDict[str, Part[Data]] = OrderedDict()

    async def ask(self, path: str) -> Part[Data]:
        """Return the data of the resource `path`. If the provider fails, return its last data and the problem."""
        try:
            response = await self._client.get(f"{self._url}/{path}", headers=self._headers, params=self._query)
            if response.status_code == 404:
                self._kept.pop(path, None)
                return Part(problem=NOT_FOUND)
            response.raise_for_status()
            data = self.model.model_validate_json(response.content)
        except NotSent as error:  # first, because it is also an HTTPStatusError
            return self._last(path, "not called, because it is down or limits our rate", error.retry_at)
        except httpx2.HTTPStatusError as error:
            return self._last(path, f"answered {error.response.status_code}")
        except httpx2.RequestError:
            return self._last(path, "did not answer")
        except ValueError:
            return self._last(path, "sent an unexpected response")
        return self._keep(path, data)

    def _keep(self, path: str, data: Data) -> Part[Data]:
        part = self._kept[path] = Part(data=data, fetched_at=datetime.now(UTC))
        self._kept.move_to_end(path)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return part

    def _last(self, path: str, problem: str, retry_at: datetime | None = None) -> Part[Data]:
        last = self._kept.get(path, Part())
        if last.data is not None:
            process.current().emit(FallbackServed(self.name, "memory"))
        return last.model_copy(update={"problem": problem, "retry_at": retry_at})
