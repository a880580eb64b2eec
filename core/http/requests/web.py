"""`core.http.requests` for code that runs inside a web request: ``from core.http.requests import web as requests``.

Every call has the policy `WEB_REQUEST` (two attempts, 5 s in all), whatever the settings say of its upstream. The calls
of the functions share breakers, gates and budgets, but with no other call of the process. A `Session` has state of its
own, so make one for all web requests rather than one in each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..adapter import ResilientAdapter
from ..policy import WEB_REQUEST, Policy
from ..session import ResilientSession
from .facade import Facade

if TYPE_CHECKING:
    from . import *  # noqa: F403
else:

    class _Session(ResilientSession):
        def __init__(self, policy: Policy | None = WEB_REQUEST, **options: Any) -> None:
            super().__init__(policy, **options)

    _adapter = ResilientAdapter(WEB_REQUEST)
    _facade = Facade(_Session, _adapter)
    __getattr__, __dir__ = _facade.get, _facade.names
