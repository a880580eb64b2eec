"""The thread that shares: when it starts, waits and ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from core.http import CircuitOpen, Policy, RateLimited, registry
from core.http.engine.call import Call
from core.http.engine.steps import Send
from core.http.origin import Origin
from core.http.outcome import Reason
from core.http.process import ProcessRegistry
from core.http.registry import Config, Registry
from core.http.shared.records import key_of
from core.http.testing import OutboundHTTP
from core.http.upstream_id import UpstreamId
from tests.core.http.engine.world import BUSY, GET
from tests.core.http.forked import run
from tests.core.http.shared.fleet import FRAGILE, FakeCache, Fleet, lines

ORIGIN = Origin("https", "example.org", 443)


class Shy(FakeCache):
    """Says when it was asked first, and by whom; may keep its answer back."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()
        self.was_asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def _ask(self, what: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.was_asked.set()
        self.may_answer.wait(60)
        super()._ask(what)


THREAD = "core.http shared state"
CONFIG = Config(default=FRAGILE, upstreams={"pypi": FRAGILE, "forge": FRAGILE}, hosts={"pypi.test": "pypi"})


def sharing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


@pytest.fixture
def shy() -> Iterator[Shy]:
    cache = Shy()
    yield cache
    cache.may_answer.set()
    for thread in sharing_threads():
        thread.join(60)
        assert not thread.is_alive()


def real(cache: FakeCache) -> Registry:
    """Make a registry that shares, on the real clock."""
    config = Config(CONFIG.default, CONFIG.upstreams, CONFIG.hosts, shared_cache=cache)
    return ProcessRegistry(config, runtime=registry.Runtime(), observers=())


def test_the_thread_begins_with_the_first_call(shy: Shy, caplog: pytest.LogCaptureFixture) -> None:
    """Making a registry starts nothing; looking an upstream up for a call does, once, and forgetting ends it."""
    upstreams = real(shy)
    assert sharing_threads() == []
    upstreams.upstream(ORIGIN)
    upstreams.upstream(ORIGIN)
    assert shy.was_asked.wait(60)
    (thread,) = sharing_threads()
    assert thread.daemon
    shared = upstreams._sharing
    assert shared is not None
    upstreams.forget()
    thread.join(60)
    assert not thread.is_alive()
    upstreams.upstream(ORIGIN)
    assert shared._thread is thread
    assert lines(caplog) == []
    assert shy.threads == {THREAD}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_replaced(shy: Shy, caplog: pytest.LogCaptureFixture) -> None:
    """The error that ends the thread is logged, and the next call starts another thread, which waits for the pause."""
    shy.error = SystemExit()
    upstreams = real(shy)
    upstreams.upstream(ORIGIN)
    assert upstreams._sharing is not None
    first = upstreams._sharing._thread
    assert first is not None
    first.join(60)
    assert not first.is_alive()
    assert [(level, "(SystemExit: )" in text) for level, text in lines(caplog)] == [("WARNING", True)]
    asked = len(shy.asked)
    upstreams.upstream(ORIGIN)
    (second,) = sharing_threads()
    assert second is upstreams._sharing._thread is not first
    assert upstreams._sharing._due > upstreams._sharing._clock()
    assert len(shy.asked) == asked
    upstreams.forget()


def test_a_thread_that_has_a_successor_ends(fleet: Fleet) -> None:
    """If two threads exchange state, only the registered one continues."""
    shared = fleet.process().shared
    shared._thread = threading.Thread()
    shared._run()
    assert fleet.cache.asked == []


def test_an_interrupt_while_the_thread_starts_leaves_none_unknown(shy: Shy, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C during its start, the next call does not start a second thread."""
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        start(self)
        raise KeyboardInterrupt

    upstreams = real(shy)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            upstreams.upstream(ORIGIN)
    upstreams.upstream(ORIGIN)
    assert len(sharing_threads()) == 1
    upstreams.forget()


def test_named_upstreams_are_exchanged_before_they_are_used() -> None:
    """A new process reads the state of all configured upstreams, and of the 50 other hosts it used last."""
    cache = FakeCache()
    upstreams = real(cache)
    assert upstreams._sharing is not None
    upstreams._sharing.attend = lambda: None  # type: ignore[method-assign]
    for number in range(60):
        upstreams.upstream(Origin("https", f"{number}.test", 443))
    shared = upstreams._to_share()
    hosts = [UpstreamId("other", f"https://{number}.test") for number in range(59, 9, -1)]
    assert list(shared) == [UpstreamId("pypi"), UpstreamId("forge"), *hosts]
    assert shared[UpstreamId("pypi")] is upstreams.upstream(Origin("https", "pypi.test", 443))
    upstreams.forget()
    assert upstreams._to_share() == {}


def test_untrusted_hosts_do_not_displace_shared_hosts() -> None:
    """Hosts in users' URLs, however many, do not displace the hosts of trusted calls from the exchange."""
    upstreams = real(FakeCache())
    assert upstreams._sharing is not None
    upstreams._sharing.attend = lambda: None  # type: ignore[method-assign]
    ours = Origin("https", "ours.test", 443)
    upstreams.upstream(ours)
    for number in range(60):
        upstreams.upstream(Origin("https", f"{number}.test", 443), untrusted=True)
    upstreams.upstream(ours, untrusted=True)
    shared = upstreams._to_share()
    assert UpstreamId("other", ours.url) in shared
    assert len({key_of(*about) for about in shared}) == len(shared) == 2 + 1 + 50


def test_the_quota_of_a_resource_is_shared(fleet: Fleet) -> None:
    """A quota that one process has used up counts as used up in all, and the breaker is that of the upstream."""
    processes = [fleet.process() for _ in range(2)]
    for process in processes:
        process.share_partition("t")
    call = Call(processes[0].upstream.part("t"), GET)
    assert isinstance(call.begin(), Send)
    call.end(replace(BUSY, reason=Reason.HTTP_429, retry_after=100.0))
    for process in processes:
        process.exchange()
    with pytest.raises(RateLimited):
        Call(processes[1].upstream.part("t"), GET).begin()
    assert isinstance(Call(processes[1].upstream, GET).begin(), Send)
    processes[1].find_it_down()
    processes[0].exchange()
    with pytest.raises(CircuitOpen):
        Call(processes[0].upstream.part("u"), GET).begin()
    fleet.wall.advance(15)
    for _ in range(5):  # records of the same breaker would answer one another for ever
        for process in processes:
            process.exchange()
    asked = fleet.cache.asked.count("set")
    for process in processes:
        process.exchange()
    assert fleet.cache.asked.count("set") == asked


def test_a_cache_that_hangs_holds_no_call_up(shy: Shy, caplog: pytest.LogCaptureFixture) -> None:
    """A cache that hangs delays neither calls nor probes; after five seconds, it is logged once."""
    shy.may_answer.clear()
    upstreams = real(shy)
    upstream = upstreams.upstream(ORIGIN)
    assert shy.was_asked.wait(60)
    shared = upstreams._sharing
    assert shared is not None
    for _ in range(2):
        call = Call(upstream, GET)
        assert isinstance(call.begin(), Send)
        call.end(BUSY)
    assert upstream.breaker is not None
    upstream.breaker.probe_at = 0.0  # 15 s later
    shared._busy_since -= 1.0
    assert isinstance(Call(upstream, GET).begin(), Send)
    shared._busy_since -= 5.0
    upstreams.upstream(ORIGIN)
    upstreams.upstream(ORIGIN)
    assert [text for _, text in lines(caplog)] == [
        "The shared cache failed (no answer for 5 s): this process continues with its own state"
    ]
    upstreams.forget()


def test_a_process_that_cannot_start_a_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If no thread can be started, calls work without shared state."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    upstreams = real(FakeCache())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(2):
            assert isinstance(Call(upstreams.upstream(ORIGIN), GET).begin(), Send)
    assert [level for level, _ in lines(caplog)] == ["WARNING"]
    upstreams.forget()


def test_an_interrupt_that_threading_hides_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where threading cleans up after an exception of a signal handler, that exception ends the call."""

    def start(self: threading.Thread) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise KeyError(self)

    upstreams = real(FakeCache())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(KeyboardInterrupt):
            upstreams.upstream(ORIGIN)
    upstreams.forget()


def test_sessions_with_a_policy_of_their_own_share_nothing() -> None:
    """The state of a derived registry is not shared."""
    upstreams = real(FakeCache())
    derived = upstreams.derive(Policy(), None, None)
    assert derived._elect is None
    assert derived.upstream(ORIGIN).elect is None


def test_nothing_is_shared_on_a_fake_clock(outbound_http: OutboundHTTP) -> None:
    """In the tests of adopters no thread starts and nothing is exchanged."""
    upstreams = ProcessRegistry(Config(shared_cache=FakeCache()), observers=())
    upstreams.upstream(ORIGIN)
    assert upstreams._sharing is None
    assert sharing_threads() == []


def test_without_a_cache_nothing_is_shared() -> None:
    """Without a cache, there is no thread and no election."""
    upstreams = ProcessRegistry(CONFIG, runtime=registry.Runtime(), observers=())
    assert upstreams.upstream(ORIGIN).elect is None
    assert sharing_threads() == []


def test_a_forked_child_starts_a_thread_of_its_own() -> None:
    """Parent and child both exchange; the child waits for no lock, and inherits no opinion of the cache."""
    printed = run(
        """
        from core.http.registry import Config

        class Cache:
            def __init__(self):
                self.asked = threading.Event()

            def get(self, key):
                self.asked.set()

        cache, origin = Cache(), Origin("https", "example.org", 443)
        process.use(lambda: ProcessRegistry(Config(shared_cache=cache)))
        process.current().upstream(origin)
        print(cache.asked.wait(60))
        shared = process.current()._sharing
        thread = shared._thread

        def use():
            cache.asked = threading.Event()
            print(shared._thread is None, shared._failing)
            process.current().upstream(origin)
            print(cache.asked.wait(4))

        shared._failing = True
        shared._lock.acquire()
        child(use)
        print(shared._thread is thread, thread.is_alive())
        """
    )
    assert printed == ["True", "True False", "True", "child 0", "True True"]
