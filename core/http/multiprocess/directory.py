"""The directory that the processes share: how its files are named, who is alive, and whose turn it is to tidy up.

    counter_web-host-7.db            kind, identity: written by the process of that identity only
    gauge_livesum_web-host-7.db
    web-host-7.lock                  held by the process for as long as it lives: even SIGKILL lets go of it
    counter_web-ended.db             the sum of those web processes that ended: see `ended`
    directory.lock                   held by who reads all, tidies up, or takes an identity

Locks are ``flock``: the kernel of one machine sees them, whatever container a process is in.
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
"""Whether this operating system has the locks."""
ENDED = "ended"
_PATIENCE = 2.0
"""Seconds: a scrape holds the directory for some hundredths of one."""
_POLL = 0.01
_ROOM = 4 * 2**20
"""Bytes: as much as the files of a few processes take."""


class File(NamedTuple):
    """Values of one kind, of one process."""

    path: Path
    kind: str
    """As prometheus_client names it: "counter", "histogram", "summary", "gauge_livesum", …"""
    identity: str
    has_ended: bool
    """Its process is no more."""

    @property
    def role(self) -> str:
        """Who wrote it; "other" of those who take no part here."""
        return _role_of(self.identity)

    @property
    def is_live(self) -> bool:
        """It says what its process does at the moment, so nothing once that has ended."""
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
    """Tell whether that process is no more. Of those who take no part nobody knows: they live."""
    if _role_of(identity) == "other":
        return False
    try:
        lock = lock_of(directory, identity).open("rb")
    except FileNotFoundError:
        return True
    except PermissionError:  # somebody else's: its files cannot be merged either
        return False
    with lock:
        return _seized(lock.fileno(), fcntl.LOCK_SH)


def has_room(directory: Path) -> bool:
    """Tell whether a few more files fit: who writes to a mapped file for which there is no room is killed (SIGBUS)."""
    return shutil.disk_usage(directory).free >= _ROOM


def hold(path: Path) -> int | None:
    """Lock `path` for as long as the descriptor that is returned is open; None: somebody else does, or it is not ours.

    A bare descriptor: nobody closes it but the end of the process.
    """
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError:
            if path.exists():
                return None
            raise  # no file can be made here, so no other name is any better
        if not _seized(lock, fcntl.LOCK_EX):
            os.close(lock)
            return None
        if _is_still_at(path, lock):
            return lock
        os.close(lock)  # it was removed while this process opened it


@contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Wait for the directory, a little: yields whether it is this process's alone."""
    with (directory / "directory.lock").open("ab") as lock:
        latest = time.monotonic() + _PATIENCE
        while not (seized := _seized(lock.fileno(), fcntl.LOCK_EX)) and time.monotonic() < latest:
            time.sleep(_POLL)
        try:
            yield seized
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a process forked off meanwhile has it open too


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
