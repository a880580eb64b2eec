"""The pytest plugin that puts `ResilientSession` in the place of `requests.Session`, before a suite imports that."""

from __future__ import annotations

import requests

from core.http import ResilientSession


def pytest_configure() -> None:
    requests.Session = requests.sessions.Session = ResilientSession
