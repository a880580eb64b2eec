"""Who a process is to the others that keep their metrics in the same directory.

A process id is not enough: two containers have the same ones, and both would write to one file.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from prometheus_client import values

from .. import fork
from ..log import logger
from . import compaction
from .directory import IS_SUPPORTED, files_of, has_room, hold, lock_of, locked
from .process_role import ProcessRole, role_of

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class Identity:
    """The name of this process, taken when it is first asked for; a process that forks off takes one of its own.

    `role-hostname-pid`; of a command `job-command`, the same for each run, so that a job leaves the same few files
    however often it runs. Where that is taken (a second run at the same time, another container) the next best one is.
    """

    def __init__(self, directory: Path, part: ProcessRole) -> None:
        self._directory = directory
        self._part = part
        self._forked = False
        self._name = ""
        self._lock: int | None = None
        fork.renew_in_children(self)

    def __call__(self) -> str:
        """Return the name. Called at each count, so it must cost nothing. Raises `OSError` where none can be taken."""
        return self._name or self._take()

    def after_fork(self) -> None:
        self._forked = True
        self._name = ""
        if self._lock is not None:
            os.close(self._lock)  # this copy of it: the parent holds it on
            self._lock = None

    def _take(self) -> str:
        if not has_room(self._directory):
            raise OSError(errno.ENOSPC, "the file system is nearly full")
        with locked(self._directory) as alone:
            if alone:
                compaction.tidy(self._directory)
            for name in self._names(alone=alone):
                lock = hold(lock_of(self._directory, name))
                if lock is not None:
                    break
            self._lock, self._name = lock, name
            for file in files_of(self._directory):
                if file.identity == name and file.is_live:
                    file.path.unlink()  # of one that had the name before
        return name

    def _names(self, *, alone: bool) -> Iterator[str]:
        role, command = self._part
        own = f"{role}-{_word(socket.gethostname())}-{os.getpid()}"
        if not alone:  # somebody may be merging what is there, so none that has files
            yield f"{own}-{time.time_ns()}"
        if command and not self._forked:
            yield f"{role}-{_word(command)}"
        yield own
        for n in count(2):
            yield f"{own}-{n}"


_taken: list[Identity] = []
"""The one in use."""


def take_part(part: ProcessRole | None = None) -> None:
    """Let this process keep its metrics in PROMETHEUS_MULTIPROC_DIR, if that is set: before any metric is made.

    `part`: default: what OUTBOUND_HTTP_ROLE says, else the command line. The Django app calls it when Django makes the
    configurations of all apps. A process that plays no part, or cannot write there, keeps its metrics to itself.
    """
    if VARIABLE not in os.environ or _taken:
        return
    part = part or role_of(sys.argv, os.environ)
    values.ValueClass = values.MutexValue
    if part is None or not os.environ[VARIABLE]:
        return
    if not IS_SUPPORTED:
        logger.error("%s is not used, because it needs flock: each process exports only its own metrics", VARIABLE)
        return
    directory = Path(os.environ[VARIABLE]).absolute()
    os.environ[VARIABLE] = str(directory)  # the process may go elsewhere
    try:
        directory.mkdir(parents=True, exist_ok=True)
        identity = Identity(directory, part)
        identity()
    except OSError as exc:
        text = "%s=%s: %s: the metrics of this process are not exported. Set a writable directory with free space"
        logger.error(text, VARIABLE, directory, exc)
        return
    values.ValueClass = values.MultiProcessValue(identity)  # type: ignore[no-untyped-call]  # it has no types
    _taken.append(identity)


def _word(text: str) -> str:
    """Make `text` fit into the name of a file, whose parts prometheus_client separates by underscores."""
    return re.sub("[^A-Za-z0-9.]+", "-", text)
