"""A local server that answers each request with the next entry of a script, byte for byte."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

TLS = Path(__file__).parent / "tls"
"""A certificate authority of the tests, a server's certificate for 127.0.0.1, and a client's."""


class Then(Enum):
    """The state of the connection after a reply."""

    CLOSE = "close it"
    RESET = "reset it"
    KEEP = "read the next request from it"
    HOLD = "send no more, and wait until the client hangs up"
    DRAIN = "send no more, read whatever comes, until the client hangs up"
    IGNORE = "neither read nor send, until the server ends"
    SIP = "send no more, read a little now and then"


@dataclass(frozen=True)
class Reply:
    data: bytes
    then: Then = Then.CLOSE
    repeat: bytes = b""
    """Sent after `data`, over and over, until the client hangs up."""
    every: float = 0.0
    """Seconds before each of these repetitions."""
    times: int | None = None
    """How many repetitions there are; None: no end."""
    gate: threading.Event | None = None
    """Waited for before `then`: so the client has what was sent, and can tell."""


def reply(
    status: int = 200,
    body: bytes = b"ok",
    *headers: str,
    length: int | None = None,
    then: Then = Then.CLOSE,
    repeat: bytes = b"",
    every: float = 0.0,
    times: int | None = None,
) -> Reply:
    """Make a reply with a Content-Length, which `length` may falsify."""
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body) if length is None else length}", *headers]
    if then is Then.CLOSE:
        lines.append("Connection: close")  # or the client may try the connection again before it sees the end
    return Reply("\r\n".join([*lines, "", ""]).encode("latin-1") + body, then, repeat, every, times)


RESET = Reply(b"", Then.RESET)
CLOSE = Reply(b"")
HOLD = Reply(b"", Then.HOLD)
SCRIPT_ENDED = reply(599, b"the script has ended")


@dataclass
class MisbehavingServer:
    """Serves `script`, one entry for each request on any connection; after that, 599s."""

    script: list[Reply] = field(default_factory=list)
    context: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    """What was received: head and body of each request."""
    peers: list[str] = field(default_factory=list)
    """Common name of each connection's client certificate."""
    connections: int = 0
    hung_up: threading.Event = field(default_factory=threading.Event)
    """Set when a client has hung up on a connection that was held."""
    closed: threading.Event = field(default_factory=threading.Event)
    """Set when the server is done with a connection, and has closed it."""
    said: threading.Event = field(default_factory=threading.Event)
    """Set when an answer has been sent with all its repetitions."""
    greetings: list[Reply] = field(default_factory=list)
    """What the first connections get before anything is read from them, and before TLS; `KEEP` goes on as usual."""
    welcome: Reply | None = None
    """What each connection gets before anything is read from it, after the handshake of TLS."""
    routes: Mapping[str, Reply] | None = None
    """By path, without its slash: answered in place of the script, as often as asked."""
    on_connect: Callable[[], object] | None = None
    """Called when a connection has been accepted, before anything is done with it."""
    on_request: Callable[[], object] | None = None
    """Called when a request has arrived, before it is answered."""

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def netloc(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://{self.netloc}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(5)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        connection = plain
        try:
            if self.on_connect:
                self.on_connect()
            with self._lock:
                greeting = self.greetings.pop(0) if self.greetings else None
            if greeting and not self._answer(plain, greeting):
                return
            if self.context:
                connection = self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                with self._lock:
                    self._open.add(connection)
                connection.do_handshake()
                subject = dict(pair for part in (connection.getpeercert() or {}).get("subject", ()) for pair in part)
                self.peers.append(subject.get("commonName", ""))
            if self.welcome and not self._answer(connection, self.welcome):
                return
            self._converse(connection)
        except OSError:
            pass
        finally:
            with self._lock:
                self._open -= {plain, connection}
                connection.close()
                plain.close()
            self.closed.set()

    def _converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := _read_request(stream):
                with self._lock:
                    self.requests.append(request)
                    answer = self._next_answer(request)
                if self.on_request:
                    self.on_request()
                if not self._answer(connection, answer):
                    return

    def _next_answer(self, request: bytes) -> Reply:
        if self.routes is not None:
            return self.routes.get(request.split(b" ")[1].decode()[1:], SCRIPT_ENDED)
        return self.script.pop(0) if self.script else SCRIPT_ENDED

    def _answer(self, connection: socket.socket, answer: Reply) -> bool:
        """Send `answer`. Returns whether the connection stays open."""
        connection.sendall(answer.data)
        said = 0
        while answer.repeat and said != answer.times and not self._stopped.wait(answer.every):
            connection.sendall(answer.repeat)
            said += 1
        self.said.set()
        if answer.gate:
            answer.gate.wait(10)
        if answer.then is Then.HOLD and not connection.recv(1):
            self.hung_up.set()
        elif answer.then is Then.DRAIN:
            while connection.recv(65536):
                pass
            self.hung_up.set()
        elif answer.then is Then.SIP:
            while connection.recv(1024) and not self._stopped.wait(0.02):
                pass
        elif answer.then is Then.IGNORE:
            self._stopped.wait()
        elif answer.then is Then.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return answer.then is Then.KEEP


def _read_request(stream: BinaryIO) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        head += line
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        return head + _read_chunks(stream)
    _, found, rest = lowered.partition(b"content-length:")
    return head + (stream.read(int(rest.split(b"\r\n")[0])) if found else b"")


def _read_chunks(stream: BinaryIO) -> bytes:
    body = b""
    while True:
        size = int(stream.readline().strip() or b"0", 16)
        body += stream.read(size + 2)[:-2]
        if not size:
            return body


def server_context(*, ask_for_client_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    if ask_for_client_certificate:
        context.load_verify_locations(TLS / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context
