"""Outbound HTTP that is retried, spaced, cut off and counted. `engine.py` is the place to begin reading."""

from core.http.adapter import ResilientAdapter
from core.http.api import delete, get, head, options, patch, post, put, request
from core.http.errors import BlockedAddress, CircuitOpen, DeadlineExceeded, RateLimited, ResponseTooLarge
from core.http.policy import WEB_REQUEST, CircuitBreaker, Policy, RetryBudget
from core.http.session import ResilientSession

__all__ = [
    "WEB_REQUEST",
    "BlockedAddress",
    "CircuitBreaker",
    "CircuitOpen",
    "DeadlineExceeded",
    "Policy",
    "RateLimited",
    "ResilientAdapter",
    "ResilientSession",
    "ResponseTooLarge",
    "RetryBudget",
    "delete",
    "get",
    "head",
    "options",
    "patch",
    "post",
    "put",
    "request",
]
