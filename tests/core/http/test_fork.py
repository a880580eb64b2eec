"""After a fork the child has connections, locks and state of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.http import ResilientAdapter, fork, process
from core.http.origin import Origin
from core.http.process import ProcessRegistry
from tests.core.http.conftest import Serve
from tests.core.http.forked import run
from tests.core.http.misbehave import Then, reply

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def test_the_child_opens_connections_of_its_own(serve: Serve) -> None:
    """Parent and child never share a connection, on which each might read the other's answer."""
    server = serve(*[reply(200, then=Then.KEEP)] * 8)
    lines = run(
        """
        url = sys.argv[1]
        session = ResilientSession()
        session.trust_env = False
        direct = {"proxies": {"http": None}}
        session.get(url), http.get(url, **direct)
        child(lambda: print(session.get(url).status_code, http.get(url, **direct).status_code))
        print(session.get(url).status_code, http.get(url, **direct).status_code)
        """,
        server.url,
    )
    assert lines == ["200 200", "child 0", "200 200"]
    assert server.connections == 4
    assert len(server.requests) == 6


def test_the_child_has_fresh_upstreams() -> None:
    """A forked child has new upstreams with the same configuration."""
    lines = run(
        """
        origin = Origin("https", "example.org", 443)
        before = process.current().upstream(origin)
        child(lambda: print(process.current().upstream(origin) is before, process.current().upstream(origin).name))
        print(process.current().upstream(origin) is before)
        """
    )
    assert lines == ["False other", "child 0", "True"]


def test_locks_that_other_threads_hold_do_not_hang_the_child() -> None:
    """A thread of the parent that was inside the library at the fork does not block the child."""
    lines = run(
        """
        current, session = process.current(), ResilientSession(Policy(retries=0))
        adapter = session.get_adapter("https://example.org/")
        held, done = threading.Event(), threading.Event()

        def hold():
            with current._lock, adapter._registries._lock:
                held.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()

        def use():
            print(process.current().upstream(Origin("https", "example.org", 443)).name)
            print(adapter._registries.find().upstream(Origin("https", "example.org", 443)).policy.retries)

        child(use)
        done.set()
        thread.join()
        """
    )
    assert lines == ["other", "0", "child 0"]


def test_a_registry_in_the_making_does_not_hang_the_child() -> None:
    """A fork while another thread makes the first registry leaves the child able to make its own."""
    lines = run(
        """
        making, done = threading.Event(), threading.Event()

        def make():
            making.set()
            done.wait()
            return ProcessRegistry(observers=())

        process.use(make)
        thread = threading.Thread(target=process.current)
        thread.start()
        making.wait()

        def use():
            done.set()
            print(process.current().upstream(Origin("https", "example.org", 443)).name)

        child(use)
        done.set()
        thread.join()
        """
    )
    assert lines == ["other", "child 0"]


def test_what_a_fork_renews() -> None:
    """In the child, adapters have new pools and registries new upstreams; their options stay."""
    adapter, upstreams = ResilientAdapter(pool_maxsize=7), ProcessRegistry(observers=())
    pools, upstream = adapter.poolmanager, upstreams.upstream(Origin("https", "example.org", 443))
    current = process.current()
    fork._renew()  # the function that os.register_at_fork calls in the child
    assert adapter.poolmanager is not pools
    assert adapter.poolmanager.connection_pool_kw["maxsize"] == 7
    assert adapter.proxy_manager == {}
    assert upstreams.upstream(Origin("https", "example.org", 443)) is not upstream
    assert process.current() is current


def test_collected_sessions_are_not_renewed() -> None:
    """Sessions that were garbage collected leave the list of objects that a fork renews."""
    before = len(fork._forkable)
    adapter = ResilientAdapter()
    assert len(fork._forkable) == before + 1
    del adapter
    assert len(fork._forkable) <= before


class Renewed:
    """Notes that it was renewed, and fails where it is to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.times = 0
        self._error = error

    def after_fork(self) -> None:
        self.times += 1
        if self._error:
            raise self._error


def test_one_that_cannot_be_renewed_does_not_keep_the_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    """A subclass whose pools cannot be made anew is logged; everything else in the child is fresh."""
    things = [Renewed(ZeroDivisionError() if number % 2 else None) for number in range(10)]
    for thing in things:
        fork.renew_in_children(thing)
    adapter = ResilientAdapter()
    pools = adapter.poolmanager
    fork._renew()
    assert [thing.times for thing in things] == [1] * 10
    assert adapter.poolmanager is not pools
    logged = [record for record in caplog.records if "after a fork failed" in record.getMessage()]
    assert [record.exc_info and record.exc_info[0] for record in logged] == [ZeroDivisionError] * 5


def test_a_child_lives_on_when_something_cannot_be_renewed() -> None:
    """In a real child too: it makes its calls as if nothing had been."""
    lines = run(
        """
        from core.http import fork

        class Broken:
            def after_fork(self):
                raise ZeroDivisionError

        broken = [Broken() for _ in range(8)]
        for each in broken:
            fork.renew_in_children(each)
        adapter = ResilientAdapter()
        pools = adapter.poolmanager
        child(lambda: print(adapter.poolmanager is pools))
        """
    )
    assert lines == ["False", "child 0"]


def test_breakers_of_the_parent_are_not_counted_as_the_childs() -> None:
    """An upstream that was down before the fork, and is found down by the child too, is one open breaker there."""
    lines = run(
        """
        from core.http.events import BreakerState
        from core.http.events import BreakerChanged, Target
        from prometheus_client import REGISTRY

        def open_it():
            target = Target("GET", "https", "example.org", "/")
            process.current().emit(BreakerChanged("other", target, BreakerState.CLOSED, BreakerState.OPEN, 15.0))

        def opened():
            labels = {"upstream": "other", "state": "open"}
            return REGISTRY.get_sample_value("outbound_http_breaker_state", labels)

        open_it()
        child(lambda: (open_it(), print(opened())))
        print(opened())
        """
    )
    assert lines == ["1.0", "child 0", "1.0"]


def test_the_child_has_gauges_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With metrics of several processes, the initial gauges of a child are in the sum after its first call."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    lines = run(
        """
        from core.http.events import AttemptStarted, Target
        from core.http.registry import Config
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        process.use(lambda: ProcessRegistry(Config(upstreams={"example": Policy(max_concurrency=3), "idle": Policy()})))

        def gauges():
            gathered = CollectorRegistry()
            MultiProcessCollector(gathered)
            return [
                gathered.get_sample_value(f"outbound_http_{name}", labels)
                for name, labels in [
                    ("concurrency_limit", {"upstream": "example"}),
                    ("concurrency_limit", {"upstream": "idle"}),
                    ("breaker_state", {"upstream": "idle", "state": "closed"}),
                    ("retry_budget_remaining_ratio", {"upstream": "idle"}),
                ]
            ]

        def send():
            process.current().emit(AttemptStarted("example", Target("GET", "https", "example.org", "/")))

        send()
        print(*gauges())
        child(send)
        print(*gauges())
        """
    )
    assert lines == ["3.0 inf 1.0 1.0", "child 0", "6.0 inf 2.0 1.0"]


def test_attempts_of_the_parent_are_not_in_flight_in_the_child() -> None:
    """Without a directory for the metrics of several processes, a child has the parent's values in its memory."""
    lines = run(
        """
        from core.http.events import AttemptStarted, Target
        from prometheus_client import REGISTRY

        def send():
            process.current().emit(AttemptStarted("other", Target("GET", "https", "example.org", "/")))

        def in_flight():
            return REGISTRY.get_sample_value("outbound_http_active_requests", {"upstream": "other"})

        send()
        child(lambda: (send(), print(in_flight())))
        """
    )
    assert lines == ["1.0", "child 0"]


def test_slots_of_the_parent_are_not_the_childs() -> None:
    """A child has all of its slots, though the parent holds some, and though its lock was held at the fork."""
    lines = run(
        """
        from core.http.engine.call import Call
        from core.http.engine.steps import Send
        from core.http.events import Target

        process.use(lambda: ProcessRegistry(registry.Config(default=Policy(max_concurrency=1)), observers=()))
        target = Target("GET", "https", "example.org", "/")
        origin = Origin("https", "example.org", 443)
        upstream = process.current().upstream(origin)
        call = Call(upstream, target)
        call.begin()
        held = call.keep_slot()
        upstream.limits.slots._lock.acquire()

        def use():
            held.leave()
            print(isinstance(Call(process.current().upstream(origin), target).begin(), Send))

        child(use)
        """
    )
    assert lines == ["True", "child 0"]
