"""Tests whose results may differ when calls are retried, and tests that are skipped, each with its reason."""

from __future__ import annotations

_RECORDER = "asks for a 500: every attempt is an entry of what is recorded"

KNOWN: dict[str, dict[str, str]] = {
    "requests": {
        "tests/test_lowlevel.py::test_chunked_encoding_error": "its server answers a single connection",
    },
    "responses": {
        "responses/tests/test_recorder.py::TestRecord::test_recorder": _RECORDER,
        "responses/tests/test_recorder.py::TestRecord::test_recorder_toml": _RECORDER,
        "responses/tests/test_recorder.py::TestRecord::test_use_recorder_without_decorator": _RECORDER,
        "responses/tests/test_responses.py::test_connection_error": "counts the attempts at a URL that is not mocked",
        "responses/tests/test_responses.py::test_responses_reuse": "has one answer for each call; attempts take them",
    },
    "vcrpy": {},
    "httpx": {},
}
"""By suite: tests that may differ from the plain run with the default policy, never with retries=0."""

NEEDS_INTERNET: dict[str, dict[str, str]] = {
    "requests": {},
    "responses": {},
    "vcrpy": {
        "tests/integration/test_wild.py::test_flickr_should_respond_with_200": "asks api.flickr.com",
        "tests/integration/test_wild.py::test_amazon_doctype": "asks www.amazon.com",
    },
    "httpx": {
        "tests/client/test_proxies.py::test_async_proxy_close": "asks example.com",
        "tests/client/test_proxies.py::test_sync_proxy_close": "asks example.com",
    },
}
"""By suite: tests that are left out of every run."""
