"""Which upstream a URL belongs to."""

from __future__ import annotations

import threading
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.http import Policy, observe, process
from core.http.engine.upstream import MOST_PARTS
from core.http.events import Event, GateWaited, RetrySuppressed, Suppression, Target
from core.http.origin import Origin, canonical_host, origin_of
from core.http.process import ProcessRegistry
from core.http.registry import MOST_OTHER_HOSTS, OTHER, Config, Registry
from core.http.testing import OutboundHTTP

CONFIG = Config(
    default=Policy(retries=1),
    upstreams={"pypi": Policy(retries=2), "admin": Policy(retries=3)},
    hosts={"pypi.example": "pypi", "files.pypi.example": "pypi", "pypi.example:8443": "admin"},
)


def make(**options: object) -> Registry:
    return ProcessRegistry(CONFIG, observers=(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://pypi.example/simple/", "pypi"),
        ("http://pypi.example/", "pypi"),
        ("HTTPS://PyPI.Example./", "pypi"),
        ("https://user:secret@pypi.example/", "pypi"),
        ("https://pypi.example:8080/", "pypi"),
        ("https://pypi.example:8443/", "admin"),
        ("https://files.pypi.example/", "pypi"),
        ("https://pypi.example.evil.test/", OTHER),
        ("https://evil.test/pypi.example", OTHER),
        ("https://pypi.example@evil.test/", OTHER),
        ("https://evil-pypi.example/", OTHER),
    ],
)
def test_the_parsed_host_decides(url: str, name: str) -> None:
    """A URL belongs to the upstream that names its host, exactly, with or without the port."""
    assert make().upstream(origin_of(url)).name == name


def test_untrusted_hosts_displace_no_other() -> None:
    """Any number of hosts in users' URLs neither displaces nor changes the state of trusted hosts."""
    registry = make()
    ours = origin_of("https://ours.test/")
    known = registry.upstream(ours)
    for number in range(MOST_OTHER_HOSTS + 1):
        registry.upstream(origin_of(f"https://{number}.test/"), untrusted=True)
    assert registry.upstream(ours) is known
    assert registry.upstream(ours, untrusted=True) is not known


def test_a_partition_has_its_own_quota_and_not_its_own_outage() -> None:
    """Gate and budget are a credential's; breaker, slots and pace are the upstream's."""
    registry = make()
    where = origin_of("https://pypi.example/")
    whole, one, two = (registry.upstream(where, partition=name) for name in ("", "one", "two"))
    assert len({whole.gate, one.gate, two.gate}) == len({whole.budget, one.budget, two.budget}) == 3
    assert whole.breaker is one.breaker is two.breaker
    assert whole.limits is one.limits is two.limits
    assert registry.upstream(where, partition="one") is one


def test_partitions_are_bounded() -> None:
    """Code that makes a partition for every user fills no memory."""
    whole = make().upstream(origin_of("https://pypi.example/"))
    for number in range(MOST_PARTS + 10):
        whole.part(f"user-{number}")
    assert len(whole.parts) == MOST_PARTS
    whole.forget()
    assert all(part.breaker is None for part in whole.parts.values())


def test_each_upstream_has_its_policy() -> None:
    """Named upstreams behave as configured, all others as the default."""
    upstreams = make()
    assert upstreams.upstream(origin_of("https://pypi.example/")).policy.retries == 2
    assert upstreams.upstream(origin_of("https://elsewhere.test/")).policy.retries == 1


def test_hosts_of_one_upstream_share_its_state() -> None:
    """All hosts of an upstream share its state; other hosts share only the name `other`."""
    upstreams = make()
    one, same = (upstreams.upstream(origin_of(f"https://{host}/")) for host in ("pypi.example", "files.pypi.example"))
    assert one is same
    here, there, again = (
        upstreams.upstream(origin_of(url)) for url in ("https://a.test/", "https://b.test/", "https://A.test:443/x")
    )
    assert here is again
    assert here is not there
    assert here.name == there.name == OTHER


def test_the_number_of_nameless_hosts_is_bounded() -> None:
    """A crawl over many hosts does not fill the memory; those in use, and the named ones, stay."""
    upstreams = make()
    named = upstreams.upstream(Origin("https", "pypi.example", 443))
    busy, idle = Origin("https", "busy.test", 443), Origin("https", "idle.test", 443)
    kept, forgotten = upstreams.upstream(busy), upstreams.upstream(idle)
    for number in range(MOST_OTHER_HOSTS + len(CONFIG.upstreams)):
        upstreams.upstream(Origin("https", f"{number}.test", 443))
        upstreams.upstream(busy)
    assert upstreams.upstream(busy) is kept
    assert upstreams.upstream(idle) is not forgotten
    assert upstreams.upstream(Origin("https", "pypi.example", 443)) is named


def test_threads_that_ask_at_once_get_the_same_upstream() -> None:
    """State is made once, however many threads ask for it first."""
    upstreams, start, got = make(), threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        got.append(upstreams.upstream(Origin("https", "a.test", 443)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len(set(map(id, got))) == 1


def test_a_derived_registry_has_state_of_its_own() -> None:
    """A policy and a time of one's own: the names and the observers stay the process's."""
    seen: list[Event] = []
    parent = ProcessRegistry(CONFIG, observers=(seen.append,))
    origin = Origin("https", "pypi.example", 443)
    derived = parent.derive(Policy(retries=9), lambda: 5.0, lambda: 0.5)
    upstream = derived.upstream(origin)
    assert upstream is not parent.upstream(origin)
    assert (upstream.name, upstream.policy.retries) == ("pypi", 9)
    assert (upstream.clock(), upstream.random()) == (5.0, 0.5)
    event = RetrySuppressed("pypi", Target("GET", "https", "pypi.example", "/"), Suppression.DEADLINE)
    derived.emit(event)
    assert seen == [event]


def test_events_can_be_watched_for_a_while() -> None:
    """A job can count its own calls with an observer for a block, in addition to those of the process."""
    seen: list[Event] = []
    watched: list[Event] = []
    upstreams = ProcessRegistry(CONFIG, observers=(seen.append,))
    event = RetrySuppressed("pypi", Target("GET", "https", "pypi.example", "/"), Suppression.DEADLINE)
    upstream = upstreams.upstream(Origin("https", "pypi.example", 443))
    upstream.observe(event)
    with observe(watched.append):
        upstream.observe(event)
    upstream.observe(event)
    assert (len(seen), len(watched)) == (3, 1)


def test_an_observer_gets_the_kinds_of_events_that_it_asks_for() -> None:
    """One with `kinds` gets no others; one without, or with something else of that name as mocks have, gets all."""

    def picky(event: Event) -> None:
        seen.append(event)

    seen: list[Event] = []
    picky.kinds = {GateWaited}  # type: ignore[attr-defined]
    mocked = mock.MagicMock()
    upstreams = ProcessRegistry(CONFIG, observers=(picky, mocked))
    waited = GateWaited("pypi", 1.0)
    upstreams.emit(RetrySuppressed("pypi", Target("GET", "https", "pypi.example", "/"), Suppression.DEADLINE))
    upstreams.emit(waited)
    assert seen == [waited]
    assert mocked.call_count == 2


@pytest.mark.parametrize(
    ("url", "netloc"),
    [
        ("https://Example.ORG/", "example.org"),
        ("https://example.org:443/", "example.org"),
        ("http://example.org:443/", "example.org:443"),
        ("http://user@example.org:8000/", "example.org:8000"),
        ("http://[::1]:8000/", "[::1]:8000"),
        ("http://[::1]/", "[::1]"),
        ("https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/", "xn--bcher-kva.example"),
    ],
)
def test_origins_are_written_the_usual_way(url: str, netloc: str) -> None:
    """Lower-case ASCII, the port only where it is not the usual one, never the userinfo."""
    assert origin_of(url).netloc == netloc


@pytest.mark.parametrize("url", ["", "https://", "/path", "mailto:me@example.org", "http://h:99999/", "http://h:x/"])
def test_a_url_with_an_invalid_host_is_refused(url: str) -> None:
    """An invalid host raises ValueError, which each driver turns into an error of its client."""
    with pytest.raises(ValueError):
        origin_of(url)


@given(host=st.text(max_size=80))
def test_no_host_name_breaks_the_reading(host: str) -> None:
    """Any text is a host name or a ValueError, and reading it twice changes nothing."""
    try:
        name = canonical_host(host)
    except ValueError:
        return
    assert name.isascii()
    assert canonical_host(name) == name


def test_the_registry_is_made_on_first_use_and_kept() -> None:
    """Threads share one registry, made when it is first needed."""
    assert process.current() is process.current()


def test_use_keeps_arguments_that_are_not_given(outbound_http: OutboundHTTP) -> None:
    """`use()` replaces the registry at the next call, and keeps the clock."""
    before = process.current()
    process.use()
    assert process.current() is not before
    assert process.current().runtime is before.runtime
    assert process.current().runtime.clock is outbound_http.clock
