from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

import pytest

Answers = dict[str, Any]
AddressInfo = tuple[int, int, int, str, Any]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Answers of look-ups by name; literal addresses and localhost are resolved by the system.

    An answer is a list of ``(host, port)`` addresses, an error to raise, or a function to call for one of these.
    """
    answers: Answers = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: Any, *args: Any, **kwargs: Any) -> list[AddressInfo]:
        if host not in answers:
            if host == "localhost":
                host = "127.0.0.1"
            elif not _literal(host):
                raise socket.gaierror(socket.EAI_NONAME, "no name leads out of these tests")
            return real(host, port, *args, **kwargs)
        answer = answers[host]
        if callable(answer):
            answer = answer()
        if isinstance(answer, BaseException):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for address in answer]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


def _literal(host: str | None) -> bool:
    try:
        ip_address(host or "")
    except ValueError:
        return False
    return True
