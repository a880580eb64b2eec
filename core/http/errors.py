"""The errors that only this library raises, each in the family that existing ``except`` clauses catch.

requests.RequestException
├── requests.Timeout
│   └── requests.ReadTimeout
│       └── DeadlineExceeded     the total deadline of the call cut it off
└── ResponseTooLarge             the body is larger than Policy.max_response_bytes

Everything else that goes wrong is the error that requests itself raises for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import requests


class DeadlineExceeded(requests.ReadTimeout):
    """`Policy.total_timeout` cut the last attempt off, or passed before the first one could be sent."""


class ResponseTooLarge(requests.RequestException):
    """The body, decoded, is larger than `Policy.max_response_bytes`; what was read of it is thrown away."""


def chain(error: BaseException, handled: BaseException | None = None) -> Iterator[BaseException]:
    """Yield `error` and all that it wraps, outermost first: causes, contexts, arguments and reasons.

    `handled` and what that wraps stay out of it.
    """
    queue: list[object] = [error]
    seen = {id(handled)}
    while queue:
        link = queue.pop(0)
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            queue += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
