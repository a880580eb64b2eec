"""The unique name of a process among all processes that store their metrics in the same directory.

A process id is not sufficient: processes in two containers can have the same id, and would write to the same file.
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
    """The name of this process, which is determined on first use. A forked process gets its own name.

    The name is `role-hostname-pid`. For a command it is `job-command`, the same for each run, so that all runs of a job
    use the same few files. If another process has a name (a concurrent run, or one in another container), the next
    alternative is used.
    """

    def __init__(self, directory: Path, part: ProcessRole) -> None:
        self._directory = directory
        self._part = part
        self._forked = False
        self._name = ""
        self._lock: int | None = None
        fork.renew_in_children(self)

    def __call__(self) -> str:
        """Return the name. Each change of a metric calls this. Raises `OSError` if no name can be used."""
        return self._name or self._take()

    def after_fork(self) -> None:
        self._forked = True
        self._name = ""
        if self._lock is not None:
            os.close(self._lock)  # closes the copy of this process; the parent process keeps the lock
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
                    file.path.unlink()  # values of an ended process with the same name
        return name

    def _names(self, *, alone: bool) -> Iterator[str]:
        role, command = self._part
        own = f"{role}-{_word(socket.gethostname())}-{os.getpid()}"
        if not alone:  # another process may be merging files, so use a name for which there are no files
            yield f"{own}-{time.time_ns()}"
        if command and not self._forked:
            yield f"{role}-{_word(command)}"
        yield own
        for n in count(2):
            yield f"{own}-{n}"


_taken: list[Identity] = []
"""The identity of this process, after `take_part` has created it; otherwise empty."""


def take_part(part: ProcessRole | None = None) -> None:
    """Make this process store its metrics in PROMETHEUS_MULTIPROC_DIR, if that is set. Call it before creating metrics.

    The Django app calls it when Django creates the configurations of all apps. A process without a role, or without
    write access to the directory, does not export its metrics.

    :param part: the role; default: OUTBOUND_HTTP_ROLE, otherwise derived from the command line.
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
    os.environ[VARIABLE] = str(directory)  # absolute, because the process may change its working directory
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
    """Return `text` as a part of a file name, without underscores, with which prometheus_client separates parts."""
    return re.sub("[^A-Za-z0-9.]+", "-", text)
