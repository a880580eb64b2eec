"""make_resilient: for a session that other code made."""

from __future__ import annotations

import warnings

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from .adapter import POOL_CONNECTIONS, POOL_HOSTS, ResilientAdapter
from .policy import Policy, check_policy
from .wire import compat


def make_resilient(session: requests.Session, policy: Policy | None = None) -> tuple[str, ...]:
    """Replace the adapters of `session` by one `ResilientAdapter`, and return what could not be changed.

    Every plain `requests.adapters.HTTPAdapter` is replaced, for whatever prefix it is mounted: the policy takes the
    place of its `max_retries`, and the sizes of its pools are kept where they are larger. An adapter of another class
    stays, because it does something that ours would not. One that is resilient already stays too, with its policy. The
    result has a sentence for each adapter that stays and is not resilient, or not with this `policy`. Each is a
    `UserWarning` as well. An empty tuple: all calls are as asked for.

    What belongs to the session is as before: `Policy.total_timeout` bounds each hop of a redirect, not all of them
    together, and URLs that users submit still need a `ResilientSession`.

    :param session: of any class that is a `requests.Session`.
    :param policy: as for `ResilientAdapter`; default: that of the upstream, with the state of the process.
    :raises TypeError: `session` is no `requests.Session`, or `policy` no `Policy`.
    """
    if not isinstance(session, requests.Session):
        raise TypeError(f"session={session!r}: must be an instance of requests.Session, to mount the adapter on")
    if not hasattr(session, "adapters"):
        raise TypeError(f"session={session!r}: its class must call requests.Session.__init__, which makes its adapters")
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
    told = tuple(
        _told(prefix, kept[prefix]) for prefix in kept if policy is not None or not _is_resilient(kept[prefix])
    )
    for sentence in told:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    return told


def _is_resilient(adapter: BaseAdapter) -> bool:
    return isinstance(adapter, ResilientAdapter)


def _told(prefix: str, adapter: BaseAdapter) -> str:
    if _is_resilient(adapter):
        return f"{prefix} is resilient already, and keeps its policy: mount a ResilientAdapter(policy) for another one"
    kind = type(adapter).__name__
    return (
        f"{prefix} keeps its {kind}, so calls to it are not resilient: mount a ResilientAdapter for it, "
        f"or one of a class that derives from {kind} and ResilientAdapter"
    )
