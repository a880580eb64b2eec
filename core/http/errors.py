"""The errors that only this library raises, each in the family that existing ``except`` clauses catch.

requests.RequestException
├── requests.Timeout
│   └── requests.ReadTimeout
│       └── DeadlineExceeded     the total deadline of the call cut it off
└── ResponseTooLarge             the body is larger than Policy.max_response_bytes

Everything else that goes wrong is the error that requests itself raises for it.
"""

from __future__ import annotations

import requests


class DeadlineExceeded(requests.ReadTimeout):
    """`Policy.total_timeout` cut the last attempt off, or passed before the first one could be sent."""


class ResponseTooLarge(requests.RequestException):
    """The body, decoded, is larger than `Policy.max_response_bytes`; what was read of it is thrown away."""
