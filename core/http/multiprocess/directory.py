"""The directory that the processes share: the names of its files, and its locks.

    counter_web-host-7.db            kind and identity; only the process with that identity writes it
    gauge_livesum_web-host-7.db
    web-host-7.lock                  locked by the process during its lifetime; the kernel unlocks it even after SIGKILL
    counter_web-ended.db             the sum of the web processes that have ended: see `compaction`
    directory.lock                   locked by a process that reads or merges all files, or takes an identity

The locks are those of ``flock``, which the kernel of a machine manages for all containers.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .process_role import ROLES

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

IS_SUPPORTED = fcntl is not None
"""Whether this operating system has `flock`."""
ENDED = "ended"
_PATIENCE = 2.0
"""Maximum seconds to wait for the directory. A scrape locks it for a few hundredths of a second."""
_POLL = 0.01
_ROOM = 4 * 2**20
"""Number of bytes that must be free. This is the size of the files of a few processes."""


class File(NamedTuple):
    """A file with the values that one process has for one kind of metrics."""

    path: Path
    kind: str
    """prometheus_client's name of the kind: "counter", "histogram", "summary", "gauge_livesum", …"""
    identity: str
    has_ended: bool
    """Whether the process has ended."""

    @property
    def role(self) -> str:
        """The role of the process; "other" if it does not use this package."""
        return _role_of(self.identity)

    @property
    def is_live(self) -> bool:
        """Whether the values are valid only until the process ends."""
        return self.kind.startswith("gauge_live")


def files_of(directory: Path) -> list[File]:
    found = []
    ended: dict[str, bool] = {}
    for path in sorted(directory.glob("*.db")):
        kind, _, identity = path.stem.rpartition("_")
        if identity not in ended:
            ended[identity] = _has_ended(directory, identity)
        found.append(File(path, kind, identity, ended[identity]))
    return found


def lock_of(directory: Path, identity: str) -> Path:
    return directory / f"{identity}.lock"


def _role_of(identity: str) -> str:
    role, dash, _ = identity.partition("-")
    return role if dash and role in ROLES else "other"


def _has_ended(directory: Path, identity: str) -> bool:
    """Return whether the process has ended. A process that does not use this package counts as running."""
    if _role_of(identity) == "other":
        return False
    try:
        lock = lock_of(directory, identity).open("rb")
    except FileNotFoundError:
        return True
    except PermissionError:  # a file of another user, whose values cannot be merged either
        return False
    with lock:
        return _seized(lock.fileno(), fcntl.LOCK_SH)


def has_room(directory: Path) -> bool:
    """Return whether there is space for a few more files. Without space, writing to a mapped file kills the process."""
    return shutil.disk_usage(directory).free >= _ROOM


def hold(path: Path) -> int | None:
    """Lock `path` and return a file descriptor, which holds the lock while it is open. None: another process has it.

    The descriptor is an integer, so that garbage collection does not close it. It is closed at the end of the process.
    """
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError:
            if path.exists():
                return None
            raise  # the directory is not writable, so another name would fail too
        if not _seized(lock, fcntl.LOCK_EX):
            os.close(lock)
            return None
        if _is_still_at(path, lock):
            return lock
        os.close(lock)  # another process removed the file between opening and locking


@contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Wait up to `_PATIENCE` seconds for the lock of the directory. Yields whether this process has the lock."""
    with (directory / "directory.lock").open("ab") as lock:
        latest = time.monotonic() + _PATIENCE
        while not (seized := _seized(lock.fileno(), fcntl.LOCK_EX)) and time.monotonic() < latest:
            time.sleep(_POLL)
        try:
            yield seized
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing the file is not enough: a forked process has it open too


def _seized(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still_at(path: Path, lock: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(lock))
    except FileNotFoundError:
        return False
