"""make_resilient: mounts a `ResilientAdapter` on a session that other code created."""

from __future__ import annotations

import warnings

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from .adapter import POOL_CONNECTIONS, POOL_HOSTS, ResilientAdapter
from .policy import Policy, check_policy
from .wire import compat


def make_resilient(session: requests.Session, policy: Policy | None = None) -> tuple[str, ...]:
    """Replace the plain adapters of `session` with one `ResilientAdapter`.

    Every plain `requests.adapters.HTTPAdapter` is replaced, whatever prefix it is mounted for. `Policy.retries` applies
    instead of its `max_retries`. Its pool sizes are kept if they are larger than those of `ResilientAdapter` (32 hosts,
    128 connections). An adapter of another class is kept, because it does something that `ResilientAdapter` would not.
    A `ResilientAdapter` is kept too, with its policy.

    Returns a sentence for each kept adapter that is not resilient. If `policy` is given, each kept `ResilientAdapter`
    gets a sentence too, because it keeps its own policy. Each sentence is also issued as a `UserWarning`. An empty
    tuple means that all calls are resilient and, if `policy` is given, use it.

    The session itself is unchanged: `Policy.total_timeout` limits each request of a chain of redirects, not the whole
    chain, and URLs that users submit still need a `ResilientSession`.

    :param session: an instance of `requests.Session` or of a subclass.
    :param policy: as for `ResilientAdapter`; default: the policy and process-wide state of each upstream.
    :raises TypeError: if `session` is not a `requests.Session`, or `policy` not a `Policy`.
    """
    if not isinstance(session, requests.Session):
        raise TypeError(f"session={session!r}: must be an instance of requests.Session or of a subclass")
    if not hasattr(session, "adapters"):
        raise TypeError(
            f"session={session!r}: its class must call requests.Session.__init__, which creates its adapters"
        )
    check_policy(policy)
    plain = {prefix: adapter for prefix, adapter in session.adapters.items() if type(adapter) is HTTPAdapter}
    kept = {prefix: adapter for prefix, adapter in session.adapters.items() if prefix not in plain}
    if plain:
        pools = [compat.pool_options_of(adapter) for adapter in plain.values()]
        ours = ResilientAdapter(
            policy,
            pool_connections=max(POOL_HOSTS, *(pool["num_pools"] for pool in pools)),
            pool_maxsize=max(POOL_CONNECTIONS, *(pool["maxsize"] for pool in pools)),
            pool_block=any(pool["block"] for pool in pools),
        )
        for prefix, adapter in plain.items():
            session.mount(prefix, ours)
            adapter.close()
    sentences = tuple(
        _sentence(prefix, kept[prefix]) for prefix in kept if policy is not None or not _is_resilient(kept[prefix])
    )
    for sentence in sentences:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return sentences


def _is_resilient(adapter: BaseAdapter) -> bool:
    return isinstance(adapter, ResilientAdapter)


def _sentence(prefix: str, adapter: BaseAdapter) -> str:
    if _is_resilient(adapter):
        return f"{prefix} already has a ResilientAdapter and keeps its policy: mount a ResilientAdapter(policy) instead"
    kind = type(adapter).__name__
    return (
        f"{prefix} keeps its {kind}, so calls to it are not resilient: mount a ResilientAdapter for it, "
        f"or an adapter of a class that derives from {kind} and ResilientAdapter"
    )
