"""Name look-ups that can be given up.

`getaddrinfo` takes no timeout and cannot be interrupted, so it runs in a few daemon threads: a look-up that
hangs keeps one of them, never the caller, and never the end of the process. (`ThreadPoolExecutor` is no help:
the interpreter waits for its threads before it exits.)
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

from .. import fork

AddressInfo: TypeAlias = tuple[int, int, int, str, Any]
"""What `socket.getaddrinfo` returns for each address: family, type, protocol, canonical name, address."""


class _LookUp:
    def __init__(self, key: tuple[str, int]) -> None:
        self.key = key
        self.waiting = 0
        self.done = threading.Event()
        self.addresses: Sequence[AddressInfo] = ()
        self.error: OSError | None = None


class Resolver:
    """Looks names up in at most `threads` threads, which end when there is nothing left to look up."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self.after_fork()
        fork.renew_in_children(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._queue: deque[_LookUp] = deque()
        self._in_flight: dict[tuple[str, int], _LookUp] = {}

    def resolve(self, host: str, port: int, timeout: float) -> Sequence[AddressInfo]:
        """Return the addresses of `host`. Callers that ask for the same name at the same time share a look-up.

        :raises TimeoutError: after `timeout` seconds; the look-up may go on in its thread.
        :raises OSError: as `socket.getaddrinfo`: `socket.gaierror` above all.
        """
        key = (host, port)
        with self._lock:
            look_up = self._in_flight.get(key)
            if look_up is None:
                look_up = self._in_flight[key] = _LookUp(key)
                self._queue.append(look_up)
                if self._running < self._threads:
                    self._running += 1
                    self._start_thread(look_up)
            look_up.waiting += 1
        finished = look_up.done.wait(timeout)
        with self._lock:
            look_up.waiting -= 1
            if not look_up.waiting and look_up in self._queue:  # nobody wants it any more, and it has not begun
                self._queue.remove(look_up)
                del self._in_flight[key]
        if not finished:
            raise TimeoutError(f"looking up the name took longer than {timeout:.3f} s")
        if look_up.error is not None:
            raise _another(look_up.error)
        return look_up.addresses

    def _start_thread(self, look_up: _LookUp) -> None:
        try:
            threading.Thread(target=self._work, name="core.http look-up", daemon=True).start()
        except RuntimeError as exc:  # no more threads, or the interpreter is on its way out
            self._running -= 1
            self._queue.remove(look_up)
            del self._in_flight[look_up.key]
            raise socket.gaierror(socket.EAI_AGAIN, f"the name could not be looked up: {exc}") from None

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._running -= 1
                    return
                look_up = self._queue.popleft()
            try:
                look_up.addresses = socket.getaddrinfo(*look_up.key, 0, socket.SOCK_STREAM)
            except OSError as exc:
                look_up.error = exc
            except Exception as exc:  # noqa: BLE001 - whatever a replaced getaddrinfo raises, this thread must go on
                look_up.error = OSError(f"the name could not be looked up: {type(exc).__name__}")
            finally:
                with self._lock:
                    self._in_flight.pop(look_up.key, None)
                look_up.done.set()


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
