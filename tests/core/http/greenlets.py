"""Servers in greenlets and a session, for programs under gevent. Patch before this is imported."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event

TLS = Path(__file__).parent / "tls"
CA = str(TLS / "ca.pem")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
GREETING = b"\x16\x03\x03\x3f\xff\x02\0\x3f\xfb\x03\x03"
"""The beginning of a TLS record that a server says hello in, which is 16 KB long."""
EVERY = 0.02
"""Seconds between two bytes of a drip: far less than any timeout."""


def drip(peer: Any, data: bytes = b"x") -> None:
    """Send `data` now and then, until the client hangs up."""
    while True:
        peer.sendall(data)
        gevent.sleep(EVERY)


def serve(answer: Callable[[Any, bytes], None], *, tls: bool = False) -> str:
    """Start a server, each connection in a greenlet of its own. Returns its URL.

    `answer(peer, head)` is called for each request, and the connection kept until it raises `OSError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def talk(raw: socket.socket) -> None:
        try:
            peer = context.wrap_socket(raw, server_side=True) if tls else raw
            while head := peer.recv(65536):
                answer(peer, head)
        except OSError:
            pass
        finally:
            raw.close()

    def accept() -> None:
        while True:
            gevent.spawn(talk, listener.accept()[0])

    gevent.spawn(accept)
    return f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}/"


class AllAtOnce:
    """A server that answers when a number of requests are in flight, so sequential requests get no answer."""

    def __init__(self, number: int) -> None:
        self._missing = number
        self._arrived = Event()

    def __call__(self, peer: Any, _: bytes) -> None:
        self._missing -= 1
        if not self._missing:
            self._arrived.set()
        self._arrived.wait()
        peer.sendall(OK)
