"""Under gevent, patched before any other import, calls work as in threads."""

from __future__ import annotations

import socket
import ssl

import pytest

from core.http.wire import supported_versions
from tests.core.http.conftest import Serve
from tests.core.http.gevent_programs import run
from tests.core.http.misbehave import Then, reply, server_context


def test_greenlets_call_at_once() -> None:
    """Twenty calls wait for each other's request, so none of them may block the rest; each connection is reused."""
    said = run(
        """
        for tls in (False, True):
            shared = session(attempt_timeout=60.0)
            for _ in range(2):
                url = serve(AllAtOnce(20), tls=tls)
                calls = [gevent.spawn(shared.get, url) for _ in range(20)]
                print({call.get().text for call in calls})
            url = serve(lambda peer, _: peer.sendall(OK), tls=tls)
            print([shared.post(url, data=b"x" * 5_000).text for _ in range(3)])
        """
    )
    assert said == ["{'ok'}", "{'ok'}", "['ok', 'ok', 'ok']"] * 2


def test_the_deadline_is_hard() -> None:
    """A server that sends a byte now and then is cut off, wherever it does so, while other greenlets go on."""
    said = run(
        """
        def drip_raw(peer):
            raw = socket.socket(fileno=os.dup(peer.fileno()))
            raw.sendall(bytes.fromhex("1703033fff"))
            drip(raw)

        ticks = []
        def tick():
            while True:
                ticks.append(time.monotonic())
                gevent.sleep(0.01)

        gevent.spawn(tick)
        for url in (
            serve(lambda peer, _: drip(peer)),
            serve(lambda peer, _: drip(peer), tls=True),
            serve(lambda peer, _: (peer.sendall(ENDLESS), drip(peer))),
            serve(lambda peer, _: (peer.sendall(ENDLESS), drip(peer)), tls=True),
            serve(lambda peer, _: (peer.sendall(GREETING), drip(peer))).replace("http", "https"),
            # one record that comes in pieces: the system has something to read each time, and TLS has nothing
            serve(lambda peer, _: drip_raw(peer), tls=True),
        ):
            began = time.monotonic()
            ticks.clear()
            error = failure(session(attempt_timeout=0.5).get, url)
            print(getattr(error, "reached", error), time.monotonic() - began < 10, len(ticks) > 5)
        """
    )
    assert said == [f"{reached} True True" for reached in ("headers", "headers", "body", "body", "tls", "headers")]


def test_the_deadline_of_an_upload_is_hard() -> None:
    """The `sendall` of gevent calls `send` with a timeout of its own; a server that reads nothing is given up."""
    said = run(
        """
        url = [serve(lambda peer, _: Event().wait(), tls=tls) for tls in (False, True)]
        for each in url:
            print(failure(session(attempt_timeout=0.5).post, each, data=b"x" * 50_000_000).reached)
        """
    )
    assert said == ["send", "send"]


def test_a_look_up_that_hangs_ends_at_the_deadline() -> None:
    """A look-up that hangs runs in a greenlet, so it blocks no other, and the call ends at its deadline."""
    said = run(
        """
        look_up = socket.getaddrinfo
        socket.getaddrinfo = lambda host, *rest: Event().wait() if host == "slow.test" else look_up(host, *rest)
        url = serve(lambda peer, _: peer.sendall(OK)).replace("127.0.0.1", "localhost")
        calls = [gevent.spawn(failure, session(attempt_timeout=0.5).get, "http://slow.test/") for _ in range(3)]
        print(session(attempt_timeout=60.0).get(url).text)
        print({call.get().reached for call in calls})
        """
    )
    assert said == ["ok", "{'dns'}"]


def test_a_greenlet_that_is_ended_leaves_nothing_behind() -> None:
    """One is ended in the middle of a call, or of the wait before a retry; its slot is free again."""
    said = run(
        """
        answers = [b"HTTP/1.1 503 Busy\\r\\nContent-Length: 0\\r\\n\\r\\n"]
        hangs, waits = Event(), Event()
        def answer(peer, head):
            if answers:
                return peer.sendall(answers.pop())
            if b"/hang" in head:
                hangs.set()
                Event().wait()
            peer.sendall(OK)

        observe(lambda event: waits.set() if isinstance(event, RetryScheduled) else None)
        url = serve(answer)
        policy = {"retries": 1, "attempt_timeout": 600.0, "max_concurrency": 1}
        one = session(**policy, backoff=1000.0, backoff_max=1000.0, total_timeout=5000.0)
        for path, where in (("retried", waits), ("hang", hangs)):
            call = gevent.spawn(one.get, url + path)
            where.wait()
            call.kill()
            print(one.get(url).text)
        """
    )
    assert said == ["ok", "ok"]


def test_a_child_calls_for_itself(serve: Serve) -> None:
    """After a fork the child has a loop, locks and connections of its own."""
    server = serve(*[reply(then=Then.KEEP)] * 3, context=server_context())
    said = run(
        f"""
        url = {server.url!r}
        shared = session(attempt_timeout=60.0)
        shared.get(url)
        pid = os.fork()
        if not pid:
            os._exit(0 if shared.get(url).text == "ok" else 1)
        print(os.waitpid(pid, 0)[1], shared.get(url).text)
        """
    )
    assert said == ["0 ok"]
    assert server.connections == 2


def test_a_socks_proxy_is_used() -> None:
    """The deadline applies to the negotiation with a SOCKS proxy too."""
    said = run(
        """
        def proxy(peer, said):
            if said[:2] == b"\\x05\\x01":
                peer.sendall(b"\\x05\\0" if len(said) == 3 else b"\\x05\\0\\0\\x01" + bytes(6))
            else:
                peer.sendall(OK)

        through = lambda url: {"http": url.replace("http", "socks5h").rstrip("/")}
        print(session(attempt_timeout=60.0).get("http://host.test/", proxies=through(serve(proxy))).text)
        slow = serve(lambda peer, _: Event().wait())
        print(failure(session(attempt_timeout=0.5).get, "http://host.test/", proxies=through(slow)).reached)
        """
    )
    assert said == ["ok", "connect"]


def test_patched_too_late_is_refused() -> None:
    """Objects made before the patch would block all greenlets, so the import fails and says what to do."""
    said = run(
        """
        from core.http import Policy, ResilientSession
        from gevent import monkey
        monkey.patch_all()
        for url in ("http://127.0.0.1:9/", "https://127.0.0.1:9/"):
            for untrusted in (False, True):
                try:
                    ResilientSession(Policy(retries=3), untrusted=untrusted).get(url.replace(":9", ":8080"))
                except OSError as exc:
                    print(type(exc).__name__, [attempt.outcome.sent for attempt in exc.attempts], exc)
        """,
        prelude="",
    )
    assert len(said) == 4
    assert all(line.startswith("UnsupportedSocket [False] gevent patched the sockets after") for line in said)
    assert all("monkey.patch_all()" in line for line in said)


@pytest.mark.parametrize("missing", ["ssl", "socket"])
def test_half_a_patch_is_refused(missing: str) -> None:
    """Plain sockets of one kind and TLS sockets of another do not fit together: no import."""
    said = run(
        f"""
        from gevent import monkey
        monkey.patch_all({missing}=False, **({{"ssl": True}} if {missing!r} == "socket" else {{}}))
        try:
            import core.http
        except ImportError as exc:
            print(exc)
        else:
            print("imported", monkey.is_module_patched("ssl"), monkey.is_module_patched("socket"))
        """,
        prelude="",
    )
    assert "gevent has replaced only one of socket and ssl" in said[0] or said == ["imported False False"]


def test_eventlet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under eventlet, whose sockets are wrappers, the import fails and says so."""
    green = type("GreenSocket", (), {"__module__": "eventlet.greenio.base"})
    monkeypatch.setattr(socket, "socket", green)
    with pytest.raises(ImportError, match="eventlet has replaced socket and ssl"):
        supported_versions.check_patches()


def test_a_renamed_part_of_gevent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a handshake that drips would be endless."""
    green = type("socket", (), {"__module__": "gevent._socket3"})
    monkeypatch.setattr(socket, "socket", green)
    monkeypatch.setattr(ssl, "SSLSocket", type("SSLSocket", (green,), {"__module__": "gevent.ssl"}))
    with pytest.raises(ImportError, match=r"installed gevent does not have: socket\._wait"):
        supported_versions.check_patches()
