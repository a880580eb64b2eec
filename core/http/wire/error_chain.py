"""Finds the exceptions that an exception wraps."""

from __future__ import annotations

from collections.abc import Iterator


def chain(error: BaseException, handled: BaseException | None = None) -> Iterator[BaseException]:
    """Yield `error` and all exceptions that it wraps, outermost first: causes, contexts, arguments and reasons.

    `handled` and the exceptions that it wraps are skipped.
    """
    queue: list[object] = [error]
    seen = {id(handled)}
    while queue:
        link = queue.pop(0)
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            queue += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
