"""Merges the files of processes that have ended, so that their number stays small.

If the files were removed instead, the sums would decrease, which Prometheus treats as a reset of the counters. If a
merge is interrupted, even by SIGKILL, nothing is counted twice: the plan of the merge is first written to `ended.json`,
and the next merge completes it.
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
"""Maximum number of ended processes whose files are not merged. Each makes a scrape 1 to 2 ms longer."""


def tidy(directory: Path) -> None:
    """Complete an interrupted merge, and merge if more than `KEPT` processes have ended.

    The caller must hold the lock of the directory.
    """
    _finish(directory)
    gone = [file for file in files_of(directory) if file.has_ended and file.identity != f"{file.role}-{ENDED}"]
    identities = {file.identity for file in gone}
    if len(identities) > KEPT and has_room(directory):
        targets = _merge(directory, gone)
        sources = [*(file.path for file in gone), *(lock_of(directory, identity) for identity in identities)]
        _note(directory, targets, sources)
        _finish(directory)


def _merge(directory: Path, gone: list[File]) -> list[Path]:
    """Write the files that will replace `gone`, under temporary names. Returns their final names."""
    sources: dict[tuple[str, Path], list[Path]] = defaultdict(list)
    for file in gone:
        if not (file.is_live or file.kind == "gauge_all"):  # these are values of a single process, which has ended
            sources[file.kind, directory / f"{file.kind}_{file.role}-{ENDED}.db"].append(file.path)
    for (kind, target), paths in sources.items():
        values = Values.of(kind, [target, *paths])
        _new(target).unlink(missing_ok=True)
        written: Any = MmapedDict(_new(target))  # type: ignore[no-untyped-call]  # it has no types
        for key, (value, timestamp) in values.items():
            written.write_value(key, value, timestamp)
        written.close()
        _new(target).chmod(0o644)  # readable for all processes, whatever the umask of this one
    return [target for _, target in sources]


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
    except ValueError:  # the machine crashed after the file was renamed but before its content was written
        logger.warning("%s cannot be read: an interrupted merge may be counted twice", note)
        note.unlink()
        return
    for target in (directory / name for name in noted["targets"]):
        if _new(target).exists():
            _new(target).replace(target)
    for name in noted["sources"]:
        (directory / name).unlink(missing_ok=True)
    note.unlink()
