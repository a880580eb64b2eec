"""`core.http.requests` for code that runs inside a web request: ``from core.http.requests import web as requests``.

Calls use the policy `WEB_REQUEST` (two attempts, 5 s in total), whatever the settings of their upstream are. Only a
`Session` can be created with another policy. The calls of `get` and the other functions share breakers, gates and
budgets with each other, but not with other calls of the process. Each `Session` has its own state, so create one
session per process, not one per web request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..adapter import ResilientAdapter
from ..policy import WEB_REQUEST, Policy
from ..session import ResilientSession
from .facade import Facade

if TYPE_CHECKING:
    from . import *  # noqa: F403 - the names are those of the package
else:

    class _Session(ResilientSession):
        def __init__(self, policy: Policy | None = WEB_REQUEST, **options: Any) -> None:
            super().__init__(policy, **options)

    _adapter = ResilientAdapter(WEB_REQUEST)
    _facade = Facade(_Session, _adapter)
    __getattr__, __dir__ = _facade.get, _facade.names
