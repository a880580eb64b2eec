"""A SOCKS proxy, versions 4 and 5, for tests."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress


class SocksServer:
    """A SOCKS5 proxy that serves one connection after the other; with `hang`, it sends nothing."""

    def __init__(self, *, hang: bool = False) -> None:
        self.wanted: list[tuple[str, int]] = []
        self._hang = hang
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.netloc = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, suppress(OSError):
                    self._relay(client)

    def _relay(self, client: socket.socket) -> None:
        client.recv(256)
        if self._hang:
            client.recv(1)  # until the client hangs up
            return
        client.sendall(b"\x05\x00")
        head = client.recv(4)
        if len(head) < 4:  # the client had no address for us
            return
        kind = head[3]
        host = socket.inet_ntoa(client.recv(4)) if kind == 1 else client.recv(client.recv(1)[0]).decode()
        (port,) = struct.unpack(">H", client.recv(2))
        self.wanted.append((host, port))
        with socket.create_connection(("127.0.0.1", port)) as server:
            client.sendall(b"\x05\x00\x00\x01" + bytes(6))
            server.sendall(client.recv(65536))
            while data := server.recv(65536):
                client.sendall(data)
