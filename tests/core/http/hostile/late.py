"""Makes a call while the interpreter shuts down, and prints its result. Run as a script.

python -m tests.core.http.hostile.late <session> <when> <url> <bundle of authorities>
"""

from __future__ import annotations

import atexit
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

CA = sys.argv[4]


def make() -> Any:
    if sys.argv[1] == "plain":
        from requests import Session as Kind  # noqa: PLC0415 - in one case not before the end
    else:
        from core.http import ResilientSession as Kind  # noqa: PLC0415 - as above
    session = Kind()
    session.trust_env = False
    session.verify = CA
    return session


# Bound as defaults: at the end of the interpreter, the globals of a module may be None.
def call(
    session: Any = None, *, make: Any = make, url: str = sys.argv[3], say: Any = sys.stdout, clock: Any = time.monotonic
) -> None:
    began = clock()
    try:
        came = (session or make()).get(url).text
    except Exception:  # noqa: BLE001 - any error is compared
        came = "an error" if clock() - began < 10 else "an error after 10 s, for which an attempt may last"
    say.write(f"{came}\n")
    say.flush()


class Calling:
    """Makes a call when it is finalized."""

    def __init__(self, session: Any, *, in_a_cycle: bool = False) -> None:
        self.session = session
        self.itself = self if in_a_cycle else None

    def __del__(self, call: Any = call) -> None:
        call(self.session)


def finalized() -> None:
    class Thing:
        pass

    thing = sys.modules["thing"] = Thing()  # type: ignore[assignment]
    weakref.finalize(thing, call, make())


def after_main() -> None:
    main, session = threading.main_thread(), make()

    def run() -> None:
        main.join()
        call(session)

    threading.Thread(target=run).start()


def in_a_daemon_thread() -> None:
    go, done, session = threading.Event(), threading.Event(), make()

    def run() -> None:
        go.wait(60)
        call(session)
        done.set()

    def wait() -> None:
        go.set()
        done.wait(60)

    threading.Thread(target=run, daemon=True).start()
    atexit.register(wait)


def by_the_collector() -> None:
    gc.disable()
    Calling(make(), in_a_cycle=True)


def warmed_up() -> Any:
    session = make()
    session.get(sys.argv[3])
    return session


def of_a_global(session: Any, **options: bool) -> None:
    globals()["kept"] = Calling(session, **options)


WHEN: dict[str, Callable[[], object]] = {
    "atexit": lambda: atexit.register(call, make()),
    "atexit, imported only then": lambda: atexit.register(call),
    "weakref.finalize": finalized,
    "at the end of threading": lambda: threading._register_atexit(call, make()),  # type: ignore[attr-defined]
    "in a thread that outlives the main one": after_main,
    "in a daemon thread during atexit": in_a_daemon_thread,
    "__del__ of a global": lambda: of_a_global(make()),
    "__del__ of a global after a call": lambda: of_a_global(warmed_up()),
    "__del__ of a cycle after a call": lambda: of_a_global(warmed_up(), in_a_cycle=True),
    "__del__ by the last collection": by_the_collector,
    "never closed": lambda: globals().update(kept=make().get(sys.argv[3], stream=True)),
}

if __name__ == "__main__":
    WHEN[sys.argv[2]]()
