"""`update_packages`, and how much memory its process took at most.

python -m tests.servers.measured_run PORT OPTION…

The name forge.example looks public, and leads to the local port.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

from django.core.management import execute_from_command_line

ADDRESS = "8.8.8.8"
FORGE = "forge.example"


def main(port: int, *options: str) -> None:
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def getaddrinfo(host: Any, *args: Any, **how: Any) -> Any:
        return look_up(ADDRESS if host == FORGE else host, *args, **how)

    def dial(sock: socket.socket, address: Any) -> None:
        connect(sock, ("127.0.0.1", port) if address[0] == ADDRESS else address)

    socket.getaddrinfo = getaddrinfo
    socket.socket.connect = dial  # type: ignore[method-assign,assignment]
    try:
        execute_from_command_line(["manage.py", "update_packages", *options])
    finally:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        sys.stdout.write(f"peak: {int(peak) // 1024} MiB\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
