"""Name look-ups that can be given up.

`getaddrinfo` takes no timeout and cannot be interrupted, so it runs in a few daemon threads: a look-up that
hangs keeps one of them, never the caller, and never the end of the process. (`ThreadPoolExecutor` is no help:
the interpreter waits for its threads before it exits.)

Nothing is counted up and down: an exception that a signal handler raises in between would leave it wrong for ever. How
many threads there are is how many live, and a look-up that nobody waits for is one that nothing refers to.

There is no lock either. A signal handler, or a finalizer that the garbage collector runs, may make a call while its
thread is in the middle of a look-up. The second look-up waits for one of the threads; if that waited for a lock which
the first look-up holds, none of the three would go on.
"""

from __future__ import annotations

import _thread
import errno
import os
import socket
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from .. import fork

AddressInfo: TypeAlias = tuple[int, int, int, str, Any]
"""What `socket.getaddrinfo` returns for each address: family, type, protocol, canonical name, address."""
_Key: TypeAlias = tuple[str, int]
CHECK_THREADS = 0.25
"""Seconds after which a caller that waits checks again that there is a thread: two of them may have left it to each
other."""


class LookUp:
    """Held by those who wait for it, and by the thread that has begun with it."""

    __slots__ = ("__weakref__", "_claims", "_waiting", "addresses", "done", "error", "key")

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.done = False
        self.addresses: Sequence[AddressInfo] = ()
        self.error: OSError | None = None
        self._claims = [True]
        self._waiting: list[Callable[[], object]] = []

    def notify(self, wake: Callable[[], object]) -> None:
        """Call `wake` when it is done, in another thread; who asks after that looks at `done`. It raises nothing."""
        self._waiting.append(wake)

    def result(self) -> Sequence[AddressInfo]:
        """Return the addresses that were found. Raises as `socket.getaddrinfo`."""
        if self.error is not None:
            raise _another(self.error)
        return self.addresses

    def run(self) -> None:
        """Look the name up, unless another thread has begun with it."""
        if not self._claim():
            return
        error: OSError | None = None
        try:
            self.addresses = socket.getaddrinfo(*self.key, 0, socket.SOCK_STREAM)
        except OSError as exc:
            error = _lack_of_descriptors() or exc
        except Exception as exc:  # noqa: BLE001 - whatever a replaced getaddrinfo raises, its thread must go on
            error = OSError(f"the name could not be looked up: {type(exc).__name__}")
        finally:
            self._end(error)

    def fail(self, error: OSError) -> None:
        """End it with `error`, unless a thread has begun with it."""
        if self._claim():
            self._end(error)

    def _claim(self) -> bool:
        try:
            return self._claims.pop()  # one call into C: one thread gets it
        except IndexError:
            return False

    def _end(self, error: OSError | None) -> None:
        self.error = error
        self.done = True  # first: who comes after those that are told sees it
        for wake in tuple(self._waiting):
            wake()


class _Worker:
    """A thread of a resolver: held by that thread alone, for as long as it lives."""

    __slots__ = ("__weakref__",)


class Resolver:
    """Looks names up in at most `threads` threads, which end when there is nothing left to look up."""

    def __init__(self, threads: int) -> None:
        self._most = threads
        self.after_fork()
        fork.renew_in_children(self)

    def after_fork(self) -> None:
        self._workers: dict[int, weakref.ref[_Worker]] = {}
        """Those that live, in the order in which they came."""
        self._queue: deque[weakref.ref[LookUp]] = deque()
        self._latest: dict[_Key, weakref.ref[LookUp]] = {}
        """By name: the look-up that was asked for last, which others may join until it is done."""

    def resolve(self, host: str, port: int, timeout: float) -> Sequence[AddressInfo]:
        """Return the addresses of `host`, in `timeout` seconds: see `begin`.

        :raises TimeoutError: after `timeout` seconds; the look-up may go on in its thread.
        :raises OSError: as `socket.getaddrinfo`: `socket.gaierror` above all.
        """
        look_up = self.begin(host, port)
        ends = time.monotonic() + timeout
        mailbox: SimpleQueue[None] = SimpleQueue()  # not an `Event`: an interrupt can leave its lock held
        look_up.notify(lambda: mailbox.put(None))
        try:
            while not look_up.done:
                left = ends - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"looking up the name took longer than {timeout:.3f} s")
                self.provide_thread(look_up)
                with suppress(Empty):
                    mailbox.get(timeout=min(left, CHECK_THREADS))
            return look_up.result()
        finally:
            del look_up  # or the traceback of the error keeps it in the queue

    def begin(self, host: str, port: int) -> LookUp:
        """Return the look-up of `host`: one for all that ask for the same name at the same time. Blocks nowhere.

        Who waits for it calls `provide_thread` now, and every `CHECK_THREADS` seconds until it is done. Once the
        interpreter is finalizing it runs no other thread any more: the look-up is made in the calling thread, and takes
        as long as it takes.
        """
        if not sys.is_finalizing():
            return self._ask((host, port))
        look_up = LookUp((host, port))
        look_up.run()
        return look_up

    def _ask(self, key: _Key) -> LookUp:
        known = self._known(self._latest.get(key))
        if known is not None:
            return known
        new = LookUp(key)
        # First: whoever joins it may be the one who interrupts this. Where all threads hang, nothing takes it out.
        self._queue.append(weakref.ref(new, lambda dead: _take_out(self._queue, dead)))
        found = weakref.ref(new, lambda dead: _forget(self._latest, key, dead))
        known = self._known(self._latest.setdefault(key, found))
        if known is None:
            self._latest[key] = found
        return known or new

    @staticmethod
    def _known(found: weakref.ref[LookUp] | None) -> LookUp | None:
        known = None if found is None else found()
        return None if known is None or known.done else known

    def provide_thread(self, look_up: LookUp) -> None:
        """Start a thread where there is something to do, and there may be another one."""
        worker = _Worker()
        if not self._queue or not self._enter(worker):
            return
        try:
            # Not `Thread.start`, which waits: an exception that a signal handler raises there becomes a KeyError.
            _thread.start_new_thread(self._work, (worker,))
        except RuntimeError as exc:
            self._workers.pop(id(worker), None)
            if "shutdown" in str(exc):  # of a subinterpreter
                look_up.run()
            elif not self._workers:  # no more threads can be had, and none of ours is there to do it
                for asked in self._queued():
                    asked.fail(OSError(errno.EAGAIN, f"the name could not be looked up: {exc}"))

    def _enter(self, worker: _Worker) -> bool:
        """Count a thread among those that live; False: there are as many as there may be."""
        workers, key = self._workers, id(worker)
        workers[key] = weakref.ref(worker, lambda _: workers.pop(key, None))
        if tuple(workers).index(key) < self._most:
            return True
        workers.pop(key, None)
        return False

    def _work(self, worker: _Worker) -> None:
        while True:
            for look_up in self._queued():
                look_up.run()
            self._workers.pop(id(worker), None)  # first: who asks from here on starts another
            if not self._queue or not self._enter(worker):  # who asked before is seen here
                return

    def _queued(self) -> Iterator[LookUp]:
        """Take what is in the queue, but for those that nobody waits for any more."""
        while self._queue:
            with suppress(IndexError):  # another thread took it
                look_up = self._queue.popleft()()
                if look_up is not None:
                    yield look_up


def _forget(latest: dict[_Key, weakref.ref[LookUp]], key: _Key, dead: weakref.ref[LookUp]) -> None:
    if latest.get(key) is dead:
        latest.pop(key, None)


def _take_out(queue: deque[weakref.ref[LookUp]], dead: weakref.ref[LookUp]) -> None:
    with suppress(ValueError, IndexError):  # a thread has taken it, or changes the queue right now
        queue.remove(dead)


def _lack_of_descriptors() -> OSError | None:
    """Return the error of a process that has no file descriptor left: glibc then says that the name does not exist."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc if exc.errno in {errno.EMFILE, errno.ENFILE} else None
    return None


def _another(error: OSError) -> OSError:
    """Make an error like `error`: each who waited raises one of their own."""
    try:
        return type(error)(*error.args)
    except TypeError:  # a class of somebody's own, that wants other arguments
        return OSError(*error.args)


configured_hosts = Resolver(threads=32)
"""For hosts that the configuration names: few, so that none of them waits for another."""
other_hosts = Resolver(threads=8)
"""For those that it does not name, and that code of ours chose."""
untrusted_hosts = Resolver(threads=8)
"""For those that users submit, which may be made to hang."""
