"""Name look-ups that can be given up.

`getaddrinfo` takes no timeout and cannot be interrupted, so it runs in a few daemon threads: a look-up that
hangs keeps one of them, never the caller, and never the end of the process. (`ThreadPoolExecutor` is no help:
the interpreter waits for its threads before it exits.)

Nothing is counted up and down: an exception that a signal handler raises in between would leave it wrong for ever. How
many threads there are is how many live, and a look-up that nobody waits for is one that nothing refers to.
"""

from __future__ import annotations

import _thread
import socket
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from .. import fork

AddressInfo: TypeAlias = tuple[int, int, int, str, Any]
"""What `socket.getaddrinfo` returns for each address: family, type, protocol, canonical name, address."""
_Key: TypeAlias = tuple[str, int]


class _LookUp:
    """Held by those who wait for it, and by the thread that has begun with it."""

    __slots__ = ("__weakref__", "_waiting", "addresses", "done", "error", "key")

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.done = False
        self.addresses: Sequence[AddressInfo] = ()
        self.error: OSError | None = None
        self._waiting: list[SimpleQueue[None]] = []

    def wait(self, timeout: float) -> bool:
        """Wait until it is done; False: it is not. Not with an `Event`: an interrupt can leave its lock held."""
        mailbox: SimpleQueue[None] = SimpleQueue()
        self._waiting.append(mailbox)
        if not self.done:
            with suppress(Empty):
                mailbox.get(timeout=timeout)
        return self.done

    def run(self) -> None:
        try:
            self.addresses = socket.getaddrinfo(*self.key, 0, socket.SOCK_STREAM)
        except OSError as exc:
            self.error = exc
        except Exception as exc:  # noqa: BLE001 - whatever a replaced getaddrinfo raises, its thread must go on
            self.error = OSError(f"the name could not be looked up: {type(exc).__name__}")
        finally:
            self.done = True  # first: who comes after those that are told sees it
            for mailbox in tuple(self._waiting):
                mailbox.put(None)


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
        self._lock = threading.RLock()
        self._workers: weakref.WeakSet[_Worker] = weakref.WeakSet()
        self._queue: deque[weakref.ref[_LookUp]] = deque()
        self._latest: weakref.WeakValueDictionary[_Key, _LookUp] = weakref.WeakValueDictionary()
        """By name: the look-up that was asked for last, which others may join until it is done."""

    def resolve(self, host: str, port: int, timeout: float) -> Sequence[AddressInfo]:
        """Return the addresses of `host`. Callers that ask for the same name at the same time share a look-up.

        :raises TimeoutError: after `timeout` seconds; the look-up may go on in its thread.
        :raises OSError: as `socket.getaddrinfo`: `socket.gaierror` above all.
        """
        look_up = self._ask((host, port))
        try:
            if not look_up.wait(timeout):
                raise TimeoutError(f"looking up the name took longer than {timeout:.3f} s")
            if look_up.error is not None:
                raise _another(look_up.error)
            return look_up.addresses
        finally:
            del look_up  # or the traceback of the error keeps it in the queue

    def _ask(self, key: _Key) -> _LookUp:
        with self._lock:
            look_up = self._latest.get(key)
            if look_up is None or look_up.done:
                look_up = self._latest[key] = _LookUp(key)
                self._queue.append(weakref.ref(look_up))
            if self._queue and len(self._workers) < self._most:
                self._start_thread(look_up)
        return look_up

    def _start_thread(self, look_up: _LookUp) -> None:
        worker = _Worker()
        self._workers.add(worker)
        try:
            # Not `Thread.start`, which waits: an exception that a signal handler raises there becomes a KeyError.
            _thread.start_new_thread(self._work, (worker,))
        except RuntimeError as exc:
            self._workers.discard(worker)
            if "shutdown" in str(exc):  # the interpreter ends: nobody is kept waiting but this caller
                look_up.run()
            elif not self._workers:  # no more threads can be had, and none of ours is there to do it
                raise socket.gaierror(socket.EAI_AGAIN, f"the name could not be looked up: {exc}") from None

    def _work(self, worker: _Worker) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._workers.discard(worker)  # as one: who asks now needs another
                    return
                look_up = self._queue.popleft()()
            if look_up is not None and not look_up.done:
                look_up.run()
            del look_up  # or it is not forgotten until this thread has another


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
