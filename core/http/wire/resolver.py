"""DNS lookups with a timeout.

`getaddrinfo` has no timeout and cannot be interrupted, so it runs in a few daemon threads. A hanging lookup blocks one
of these threads, but neither the caller nor the exit of the process. (`ThreadPoolExecutor` is not suitable, because the
interpreter waits for its threads at exit.)

This module uses no counters, because an exception from a signal handler between increment and decrement would leave a
counter wrong forever. The number of running threads is the number of weak references to them. A lookup for which no
caller waits has no strong reference, so it is garbage-collected.

This module uses no locks either. A signal handler, or a finalizer that the garbage collector runs, may make a call
while the interrupted code is in the middle of a lookup. The second lookup waits for a worker thread. If that thread
waited for a lock that the interrupted code holds, there would be a deadlock.
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
"""An item of the result of `socket.getaddrinfo`: family, type, protocol, canonical name, address."""
_Key: TypeAlias = tuple[str, int]
CHECK_THREADS = 0.25
"""Seconds after which a waiting caller checks again that a thread is running, because two callers that try to start a
thread at the same time may both give up."""


class LookUp:
    """One lookup. Only its waiters, and the thread that runs it, hold strong references to it."""

    __slots__ = ("__weakref__", "_claims", "_waiting", "addresses", "done", "error", "key")

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.done = False
        self.addresses: Sequence[AddressInfo] = ()
        self.error: OSError | None = None
        self._claims = [True]
        self._waiting: list[Callable[[], object]] = []

    def notify(self, wake: Callable[[], object]) -> None:
        """Call `wake` in another thread when the lookup is done. `wake` must not raise.

        If the lookup is done already, `wake` is not called. So check `done` after calling this method.
        """
        self._waiting.append(wake)

    def result(self) -> Sequence[AddressInfo]:
        """Return the addresses. Raises the errors of `socket.getaddrinfo`."""
        if self.error is not None:
            raise _another(self.error)
        return self.addresses

    def run(self) -> None:
        """Look up the name, unless another thread does so."""
        if not self._claim():
            return
        error: OSError | None = None
        try:
            self.addresses = socket.getaddrinfo(*self.key, 0, socket.SOCK_STREAM)
        except OSError as exc:
            error = _lack_of_descriptors() or exc
        except Exception as exc:  # noqa: BLE001 - the thread must survive any error of a replaced getaddrinfo
            error = OSError(f"DNS lookup failed: {type(exc).__name__}")
        finally:
            self._end(error)

    def fail(self, error: OSError) -> None:
        """End the lookup with `error`, unless a thread has started it."""
        if self._claim():
            self._end(error)

    def _claim(self) -> bool:
        try:
            return self._claims.pop()  # one C call, so that only one thread succeeds
        except IndexError:
            return False

    def _end(self, error: OSError | None) -> None:
        self.error = error
        self.done = True  # before the calls, so that a caller of `notify` who is too late to be woken sees it
        for wake in tuple(self._waiting):
            wake()


class _Worker:
    """Represents a running thread of a resolver. Only that thread holds a strong reference to the object."""

    __slots__ = ("__weakref__",)


class Resolver:
    """Looks up names in at most `threads` threads, which end when the queue is empty."""

    def __init__(self, threads: int) -> None:
        self._most = threads
        self.after_fork()
        fork.renew_in_children(self)

    def after_fork(self) -> None:
        self._workers: dict[int, weakref.ref[_Worker]] = {}
        """The running threads, oldest first."""
        self._queue: deque[weakref.ref[LookUp]] = deque()
        self._latest: dict[_Key, weakref.ref[LookUp]] = {}
        """The latest lookup of each name and port. Until it is done, callers who look up the same share it."""

    def resolve(self, host: str, port: int, timeout: float) -> Sequence[AddressInfo]:
        """Return the addresses of `host` within `timeout` seconds: see `begin`.

        :raises TimeoutError: after `timeout` seconds. The lookup may continue in its thread.
        :raises OSError: the errors of `socket.getaddrinfo`, usually `socket.gaierror`.
        """
        look_up = self.begin(host, port)
        ends = time.monotonic() + timeout
        mailbox: SimpleQueue[None] = SimpleQueue()  # not an `Event`: an interrupt can leave its lock held
        look_up.notify(lambda: mailbox.put(None))
        try:
            while not look_up.done:
                left = ends - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"DNS lookup took longer than {timeout:.3f} s")
                self.provide_thread(look_up)
                with suppress(Empty):
                    mailbox.get(timeout=min(left, CHECK_THREADS))
            return look_up.result()
        finally:
            del look_up  # otherwise the traceback of the error would keep the lookup in the queue

    def begin(self, host: str, port: int) -> LookUp:
        """Return the lookup of `host`, shared by all callers that look up the same name at the same time.

        Does not block. The caller must call `provide_thread` now, and every `CHECK_THREADS` seconds until the lookup is
        done. In a finalizing interpreter, no other threads run, so the lookup is done in the calling thread, without a
        timeout.
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
        # The lookup is queued first, because code that interrupts this method may join it. If all threads hang, none
        # removes it from the queue, so the callback of the weak reference does.
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
        """Start a thread if a lookup is queued and fewer than the maximum number of threads run."""
        worker = _Worker()
        if not self._queue or not self._enter(worker):
            return
        try:
            # Not `Thread.start`, which waits: an exception from a signal handler during that wait becomes a KeyError.
            _thread.start_new_thread(self._work, (worker,))
        except RuntimeError as exc:
            self._workers.pop(id(worker), None)
            if "shutdown" in str(exc):  # a subinterpreter is ending
                look_up.run()
            elif not self._workers:  # no thread can be started, and none is running
                for asked in self._queued():
                    asked.fail(OSError(errno.EAGAIN, f"DNS lookup failed: {exc}"))

    def _enter(self, worker: _Worker) -> bool:
        """Register a running thread; return False if the maximum number of threads is running."""
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
            self._workers.pop(id(worker), None)  # before the check: a later lookup then starts another thread
            if not self._queue or not self._enter(worker):  # this check sees an earlier lookup
                return

    def _queued(self) -> Iterator[LookUp]:
        """Take lookups from the queue and yield them. Lookups for which no caller waits any more are skipped."""
        while self._queue:
            with suppress(IndexError):  # another thread has taken the lookup
                look_up = self._queue.popleft()()
                if look_up is not None:
                    yield look_up


def _forget(latest: dict[_Key, weakref.ref[LookUp]], key: _Key, dead: weakref.ref[LookUp]) -> None:
    if latest.get(key) is dead:
        latest.pop(key, None)


def _take_out(queue: deque[weakref.ref[LookUp]], dead: weakref.ref[LookUp]) -> None:
    with suppress(ValueError, IndexError):  # a thread has taken the lookup, or is changing the queue
        queue.remove(dead)


def _lack_of_descriptors() -> OSError | None:
    """Return an error if no file descriptor is free; otherwise None.

    Without a free descriptor, glibc reports that the name does not exist.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc if exc.errno in {errno.EMFILE, errno.ENFILE} else None
    return None


def _another(error: OSError) -> OSError:
    """Return a copy of `error`, because each waiter raises its own instance."""
    try:
        return type(error)(*error.args)
    except TypeError:  # a custom class with other arguments
        return OSError(*error.args)


configured_hosts = Resolver(threads=32)
"""For hosts of configured upstreams. There are few of them, so with 32 threads their lookups don't wait for each
other."""
other_hosts = Resolver(threads=8)
"""For hosts that are not configured, in calls that are not untrusted."""
untrusted_hosts = Resolver(threads=8)
"""For hosts in URLs that users submit. An attacker can make lookups of such hosts hang."""
