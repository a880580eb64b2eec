"""The command `manage.py upstreams`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from .... import process
from ....status import StatusReport, UpstreamStatus, status_report
from ...status_text import Row, caveat, rows, title

_CACHE_AWAY = 1


class Command(BaseCommand):
    help = (
        "Show the state of the servers that this site calls: whether they count as down and since when, whether they "
        "asked for a pause, what is left of their quotas, and their last error within the past day. The state is read "
        "from the shared cache. Without a shared cache, the command has no data, because it makes no calls itself. "
        "For the history, see the metrics. Exit status: 0 the state was shown, whether upstreams are up or down; 1 the "
        "shared cache cannot be read, so only the state of this process was shown; 2 invalid arguments."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        text = "print one JSON object; times are in UTC, null means unknown; messages go to stderr"
        parser.add_argument("--json", action="store_true", help=text)

    def handle(self, *_: Any, **options: Any) -> None:
        found = status_report(process.current())
        if text := caveat(found):
            self.stderr.write(text)
        if options["json"]:
            self.stdout.write(json.dumps(_as_dict(found)))
        else:
            self._show(found)
        if found.problem is not None:
            raise SystemExit(_CACHE_AWAY)

    def _show(self, found: StatusReport) -> None:
        self.stdout.write(title(found))
        for row in rows(found):
            self.stdout.write(self._lines(row) if self.stdout.isatty() else _line(row))

    def _lines(self, row: Row) -> str:
        """Return the state of an upstream on several lines, for a terminal."""
        heading = self.style.ERROR(row.upstream) if row.in_trouble else self.style.MIGRATE_HEADING(row.upstream)
        error = f"{row.last_error}\n{'':14}{row.request}" if row.request else row.last_error
        quotas = f"\n{'':14}".join(row.quotas) or "none announced"
        parts = (("breaker", row.breaker), ("gate", row.gate), ("quota", quotas), ("last error", error))
        return "\n".join(("", heading, *(f"  {name:10}  {value}" for name, value in parts)))


def _line(row: Row) -> str:
    """Return the state of an upstream on one line, for grep."""
    quota = "; ".join(row.quotas) or "none announced"
    error = f"{row.last_error}: {row.request}" if row.request else row.last_error
    return f"{row.upstream}: breaker {row.breaker} | gate {row.gate} | quota {quota} | last error {error}"


def _as_dict(found: StatusReport) -> dict[str, Any]:
    return {
        "at": _iso(found.at),
        "shared": found.is_shared,
        "problem": found.problem,
        "upstreams": [_upstream(standing) for standing in found.upstreams],
    }


def _upstream(standing: UpstreamStatus) -> dict[str, Any]:
    return {
        "upstream": standing.name,
        "origin": standing.origin or None,
        "untrusted": standing.untrusted,
        "partition": standing.partition or None,
        "breaker": {
            "state": standing.breaker if standing.has_breaker else "off",
            "since": _iso(standing.since),
            "next_probe": _iso(standing.next_probe),
        },
        "gate": {
            "closed": standing.gate_closed,
            "closed_until": _iso(standing.closed_until),
            "asked_until": _iso(standing.asked_until),
        },
        "quotas": [
            {
                "resource": resource or None,
                "limit": quota.limit,
                "remaining": quota.remaining,
                "reset": _iso(quota.reset),
                "seen": _iso(quota.at),
            }
            for resource, quota in sorted(standing.quotas.items())
        ],
        "last_error": _error(standing),
    }


def _error(standing: UpstreamStatus) -> dict[str, Any] | None:
    error = standing.last_error
    if error is None:
        return None
    return {**error._asdict(), "at": _iso(error.at), "path": error.path or None}


def _iso(moment: float | None) -> str | None:
    """Return a Unix time in the ISO 8601 form that jq can parse."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
