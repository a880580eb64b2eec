"""Outbound HTTP with retries, deadlines, a circuit breaker, rate limits and metrics. Read `engine/call.py` first."""

from . import duplicate_import  # noqa: F401 - first, because a second copy must fail before it registers metrics
from .adapter import ResilientAdapter
from .api import delete, get, head, options, patch, post, put, request
from .errors import (
    AttemptTimeout,
    BlockedAddress,
    CircuitOpen,
    DeadlineExceeded,
    NotSent,
    RateLimited,
    ResponseTooLarge,
)
from .foreign_session import make_resilient
from .policy import WEB_REQUEST, CircuitBreaker, Policy, RetryBudget
from .process import observe
from .session import ResilientSession
from .verdict import Verdict

__version__ = "0.1.0"

__all__ = [
    "WEB_REQUEST",
    "AttemptTimeout",
    "BlockedAddress",
    "CircuitBreaker",
    "CircuitOpen",
    "DeadlineExceeded",
    "NotSent",
    "Policy",
    "RateLimited",
    "ResilientAdapter",
    "ResilientSession",
    "ResponseTooLarge",
    "RetryBudget",
    "Verdict",
    "delete",
    "get",
    "head",
    "make_resilient",
    "observe",
    "options",
    "patch",
    "post",
    "put",
    "request",
]
