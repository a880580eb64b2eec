"""Outbound HTTP that is retried, spaced, cut off and counted. `engine.py` is the place to begin reading."""

from core.http.adapter import ResilientAdapter
from core.http.api import delete, get, head, options, patch, post, put, request
from core.http.errors import BlockedAddress, DeadlineExceeded, ResponseTooLarge
from core.http.policy import WEB_REQUEST, Policy
from core.http.session import ResilientSession

__all__ = [
    "WEB_REQUEST",
    "BlockedAddress",
    "DeadlineExceeded",
    "Policy",
    "ResilientAdapter",
    "ResilientSession",
    "ResponseTooLarge",
    "delete",
    "get",
    "head",
    "options",
    "patch",
    "post",
    "put",
    "request",
]
