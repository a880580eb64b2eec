"""Pickles that another program wrote to the Redis server: none is executed, and readers continue."""

from __future__ import annotations

import base64
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings as configured
from django.core.cache.backends.redis import RedisCache

from core.http.django.json_serializer import JSONSerializer
from core.http.shared import records, upstream_diagnostics
from tests.core.http.misbehave import MisbehavingServer, reply
from tests.servers.celery import worker
from tests.servers.common import LONGEST, wait_until
from tests.servers.fleet import Member
from tests.servers.redis import RedisServer
from tests.site_settings import settings_with

pytestmark = pytest.mark.slow


class Order:
    """Pickled, it is an order to make a directory."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.made),)

    @property
    def pickles(self) -> list[bytes]:
        """In every protocol."""
        return [pickle.dumps(self, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return Order(tmp_path / "made")


@pytest.fixture
def stored(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def keys(netloc: str) -> list[str]:
    """Return the keys of `core.http` in the cache, as Django makes them."""
    upstreams = records.key_of("example"), records.key_of("example", partition="token-2")
    hosts = (records.key_of("other", f"http://{netloc}", untrusted) for untrusted in (False, True))
    names = "example", "other", upstream_diagnostics.UNTRUSTED
    return [f":1:{key}" for key in (*upstreams, *hosts, *map(upstream_diagnostics.key_of, names))]


def test_django_would_run_them(redis_server: RedisServer, stored: redis.Redis, order: Order) -> None:
    """Django's cache executes the pickles without a configured serializer, so the tests below are effective."""
    stored.set(":1:key", order.pickles[-1])
    cache = RedisCache(redis_server.url, {})
    cache.get("key")
    cache.close()
    assert order.made.exists()


def test_the_serializer_runs_none(order: Order) -> None:
    """Pickles in every protocol are bytes like any others that are not JSON."""
    assert [JSONSerializer().loads(pickled) for pickled in order.pickles] == order.pickles
    assert not order.made.exists()


def test_the_shared_cache_runs_none(redis_server: RedisServer, stored: redis.Redis, order: Order) -> None:
    """With pickles under every key, in text and in binary, the process logs once that it ignores them; calls work."""
    with MisbehavingServer(routes={"": reply(200)}) as upstream:
        for pickled in (order.pickles[0], order.pickles[-1]):
            for key in keys(upstream.netloc):
                stored.set(key, pickled)
            upstream.routes = {"": reply(200)}
            with Member(redis_server.url, upstream.netloc, retries=0, socket_timeout=LONGEST) as member:
                assert member.get().outcome == "200"
                upstream.routes = {"": reply(503)}
                wait_until(lambda member=member: (member.get(), member.state() == "open")[1], LONGEST, "it is down")  # type: ignore[misc]
                wait_until(lambda: pickled != stored.get(":1:core.http:1:example"), LONGEST, "its state is shared")  # noqa: B023 - called in this round
                for key in stored.keys("*:probe:*"):
                    stored.set(key, pickled)
                log = member.end(LONGEST)
            text = "WARNING The shared cache holds no valid state under core.http:1:example: its value is ignored"
            assert log.count(text) == 1, log
            assert "Traceback" not in log
            assert not order.made.exists()
            stored.flushall()


def test_a_worker_runs_none(redis_server: RedisServer, stored: redis.Redis, order: Order, tmp_path: Path) -> None:
    """A task and an order of remote control that are pickled are thrown away with a line in the log; it works on."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"},
        "CACHE_URL": "",
        "CELERY_BROKER_URL": redis_server.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "DEBUG": "true",
    }
    message = {
        "body": base64.b64encode(order.pickles[2]).decode(),
        "content-encoding": "binary",
        "content-type": "application/x-python-serialize",
        "headers": {"task": "package.tasks.plan", "id": "1", "lang": "py", "root_id": "1", "parent_id": None},
        "properties": {
            "body_encoding": "base64",
            "correlation_id": "1",
            "delivery_info": {"exchange": "", "routing_key": "updates"},
            "delivery_mode": 2,
            "delivery_tag": "1",
            "priority": 0,
        },
    }
    with worker(environment, tmp_path / "worker.log", queues=("updates", "pypi"), concurrency=1) as running:
        wait_until(lambda: "worker@tests ready" in running.said, LONGEST, "the worker is ready")
        # The worker subscribes to remote control a moment after it is ready.
        wait_until(lambda: stored.publish("/0.celery.pidbox", json.dumps(message)), LONGEST, "the worker has the order")
        for queue in ("updates", "pypi"):
            stored.lpush(queue, json.dumps(message))
        refused = "Received invalid task message: Refusing to deserialize untrusted content of type pickle"
        wait_until(lambda: running.said.count(refused) == 2, LONGEST, "both are thrown away")
        wait_until(lambda: "Can't decode message body" in running.said, LONGEST, "the order is thrown away")
        assert not running.ended
    assert not order.made.exists()


def test_nothing_else_of_the_site_reads_pickles() -> None:
    """Cache, tasks and results of the site are JSON, and so are its sessions, which are in the database."""
    settings = settings_with(CACHE_URL="redis://cache.example:6379/0")
    assert {name: cache["OPTIONS"]["serializer"] for name, cache in settings["CACHES"].items()} == {
        "default": "core.http.django.json_serializer.JSONSerializer"
    }
    assert settings["CELERY_ACCEPT_CONTENT"] == ["json"]
    assert configured.SESSION_ENGINE == "django.contrib.sessions.backends.db"
    assert configured.SESSION_SERIALIZER == "django.contrib.sessions.serializers.JSONSerializer"
