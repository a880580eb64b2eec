"""Pools are found by a cached key, and are the same that urllib3 would find."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests
from urllib3 import PoolManager

from core.http import ResilientAdapter
from tests.core.http.hostile.scenarios import CA


def pool(adapter: ResilientAdapter, url: str, verify: Any = True) -> Any:
    request = requests.Request("GET", url).prepare()
    return adapter.get_connection_with_tls_context(request, verify, {}, None)


@pytest.mark.parametrize("url", ["http://a.test/x", "http://a.test:8080/", "https://a.test/y", "https://A.test:8443/"])
def test_the_pool_is_the_one_that_urllib3_finds(url: str) -> None:
    """The cached key finds the pool that urllib3 finds."""
    adapter = ResilientAdapter()
    first, again = pool(adapter, url), pool(adapter, url)
    host, options = adapter.build_connection_pool_key_attributes(requests.Request("GET", url).prepare(), True)
    assert first is again is adapter.poolmanager.connection_from_host(**host, pool_kwargs=options)
    assert len(adapter.poolmanager.pools) == 1


def test_the_pool_that_was_used_last_stays() -> None:
    """A use by the cached key counts as a use, so the least recently used pool is dropped first."""
    adapter = ResilientAdapter(pool_connections=2)
    kept, dropped = pool(adapter, "http://a.test/"), pool(adapter, "http://b.test/")
    assert pool(adapter, "http://a.test/") is kept
    pool(adapter, "http://c.test/")
    assert pool(adapter, "http://a.test/") is kept
    assert pool(adapter, "http://b.test/") is not dropped


def test_a_closed_adapter_makes_its_pools_anew() -> None:
    """After `close`, calls get new pools."""
    adapter = ResilientAdapter()
    before = pool(adapter, "https://a.test/")
    adapter.close()
    after = pool(adapter, "https://a.test/")
    assert after is not before
    assert after.pool is not None


def test_another_bundle_has_another_pool(tmp_path: Path) -> None:
    """Connections are not shared between CA bundles, or between verified and unverified calls."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(Path(CA).read_bytes())
    adapter = ResilientAdapter()
    pools = {id(pool(adapter, "https://a.test/", verify)) for verify in (True, False, CA, str(bundle))}
    assert len(pools) == 4
    bundle.write_bytes(Path(CA).read_bytes() + b"\n")
    assert id(pool(adapter, "https://a.test/", str(bundle))) not in pools


def test_a_subclass_chooses_the_pool_of_each_call() -> None:
    """The method that requests documents for custom TLS settings is called for each call."""

    class Pinning(ResilientAdapter):
        fingerprint = "aa" * 32

        def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
            host, options = super().build_connection_pool_key_attributes(*args, **kwargs)
            return host, {**options, "assert_fingerprint": self.fingerprint}

    adapter = Pinning()
    before = pool(adapter, "https://a.test/")
    adapter.fingerprint = "bb" * 32
    after = pool(adapter, "https://a.test/")
    assert (before.assert_fingerprint, after.assert_fingerprint) == ("aa" * 32, "bb" * 32)


def test_a_patch_of_urllib3_is_obeyed() -> None:
    """A replaced `PoolManager.connection_from_host` is called for known origins too."""
    adapter = ResilientAdapter()
    pool(adapter, "http://a.test/")
    with mock.patch.object(PoolManager, "connection_from_host", return_value="patched"):
        assert pool(adapter, "http://a.test/") == "patched"
