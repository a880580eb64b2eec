"""Merges the files of processes that have ended, so that there are few of them however many processes come and go.

To remove them would take from the sums, which Prometheus reads as counters that began anew. A merge that is
interrupted, by SIGKILL too, counts nothing twice: what replaces what is written down first, in `ended.json`, and
finished by the next one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict

from ..log import logger
from .aggregation import Values
from .directory import ENDED, File, files_of, has_room, lock_of

KEPT = 8
"""Processes that have ended whose files are left alone. Each costs a scrape a millisecond or two."""


def tidy(directory: Path) -> None:
    """Finish what was interrupted, and merge if there is much to merge. The directory must be locked."""
    _finish(directory)
    gone = [file for file in files_of(directory) if file.has_ended and file.identity != f"{file.role}-{ENDED}"]
    identities = {file.identity for file in gone}
    if len(identities) > KEPT and has_room(directory):
        targets = _merge(directory, gone)
        sources = [*(file.path for file in gone), *(lock_of(directory, identity) for identity in identities)]
        _note(directory, targets, sources)
        _finish(directory)


def _merge(directory: Path, gone: list[File]) -> list[Path]:
    """Write what is to take the place of `gone`, each beside its final name. Returns those names."""
    merged: dict[Path, Values] = defaultdict(Values)
    for file in gone:
        if file.is_live or file.kind == "gauge_all":  # that is of one process each, and this one is gone
            continue
        target = directory / f"{file.kind}_{file.role}-{ENDED}.db"
        if target not in merged:
            merged[target].add(file.kind, target)
        merged[target].add(file.kind, file.path)
    for target, values in merged.items():
        _new(target).unlink(missing_ok=True)
        written: Any = MmapedDict(_new(target))  # type: ignore[no-untyped-call]  # it has no types
        for key, (value, timestamp) in values.items():
            written.write_value(key, value, timestamp)
        written.close()
        _new(target).chmod(0o644)  # for all, whatever the umask of whoever happens to merge them
    return list(merged)


def _new(target: Path) -> Path:
    return target.with_suffix(".new")


def _note(directory: Path, targets: list[Path], sources: list[Path]) -> None:
    new = directory / "ended.json.new"
    new.write_text(json.dumps({"targets": [path.name for path in targets], "sources": [path.name for path in sources]}))
    new.replace(directory / "ended.json")


def _finish(directory: Path) -> None:
    note = directory / "ended.json"
    try:
        noted = json.loads(note.read_text())
    except FileNotFoundError:
        return
    except ValueError:  # the machine went down: it was renamed, but not written
        logger.warning("%s cannot be read: an interrupted merge may be counted twice", note)
        note.unlink()
        return
    for target in (directory / name for name in noted["targets"]):
        if _new(target).exists():
            _new(target).replace(target)
    for name in noted["sources"]:
        (directory / name).unlink(missing_ok=True)
    note.unlink()
