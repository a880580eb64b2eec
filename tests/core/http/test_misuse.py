"""Wrong arguments raise an error at once, with the allowed values and, if known, the correct spelling."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from core.http import (
    CircuitBreaker,
    Policy,
    ResilientAdapter,
    ResilientSession,
    RetryBudget,
    Verdict,
    make_resilient,
    observe,
)

OWNERS = [ResilientSession, ResilientAdapter]


def refusal(function: Callable[..., object], *values: Any, **fields: Any) -> str:
    with pytest.raises(TypeError) as refused:
        function(*values, **fields)
    return str(refused.value)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"retries": 3}, "policy={'retries': 3}: must be a Policy or None: write Policy(retries=3)"),
        (3, "policy=3: must be a Policy or None"),
        (Policy, "policy=<class 'core.http.policy.Policy'>: must be a Policy or None: write Policy()"),
        (
            "secret",
            "policy=a str: must be a Policy or None; the host of a call's URL determines its upstream",
        ),
        (True, "policy=True: must be a Policy or None"),
    ],
    ids=repr,
)
def test_other_types_of_policies_are_refused(policy: Any, message: str) -> None:
    """Sessions, adapters and make_resilient refuse a wrong policy; the error shows no text, as it may be a token."""
    for owner in OWNERS:
        assert refusal(owner, policy) == message
        assert refusal(owner, policy=policy) == message
    assert refusal(make_resilient, requests.Session(), policy) == message


@pytest.mark.parametrize("part", [CircuitBreaker(), RetryBudget()])
def test_a_part_of_a_policy_is_no_policy(part: Any) -> None:
    """The message says where it belongs."""
    field = {CircuitBreaker: "circuit_breaker", RetryBudget: "retry_budget"}[type(part)]
    assert refusal(ResilientSession, part).endswith(f"must be a Policy or None: write Policy({field}={part!r})")


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("retries", "retries= is a field of the policy: write {owner}(Policy(retries=…))"),
        ("timeout", "{owner} does not accept timeout=, and Policy has no such field; did you mean 'attempt_timeout'?"),
        ("max_retries", "{owner} does not accept max_retries=, and Policy has no such field; did you mean 'retries'?"),
        (
            "colour",
            "{owner} does not accept colour=, and Policy has no such field; the known names are retries, backoff, ",
        ),
    ],
)
def test_fields_of_a_policy_are_no_options(owner: type, name: str, told: str) -> None:
    """ResilientSession(retries=3) says how to write it."""
    assert refusal(owner, **{name: 3}).startswith(told.format(owner=owner.__name__))


def test_an_adapter_cannot_be_untrusted() -> None:
    """The error says that only a session can be untrusted."""
    message = "ResilientAdapter does not accept untrusted=: use ResilientSession(untrusted=True)"
    assert refusal(ResilientAdapter, untrusted=True) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ResilientAdapter(), "https://"), ": must be a string such as 'https://'; call mount(prefix, adapter)"),
        ((b"https://", ResilientAdapter()), ": must be a string such as 'https://'; call mount(prefix, adapter)"),
        (("https://", ResilientAdapter), ": must be an adapter, such as ResilientAdapter()"),
        (("https://", Policy()), ": must be an adapter, such as ResilientAdapter()"),
    ],
)
def test_wrong_arguments_of_mount_are_refused(arguments: tuple[Any, Any], message: str) -> None:
    """Arguments in the wrong order, a class or a policy raise an error, and the session does not change."""
    session = ResilientSession()
    before = dict(session.adapters)
    assert refusal(session.mount, *arguments).endswith(message)
    assert session.adapters == before


def test_a_plain_adapter_for_all_calls_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A file that mounts one for its retries, and swaps its import line, learns that its calls are not resilient."""
    session = ResilientSession()
    session.mount("https://", HTTPAdapter(max_retries=3))
    session.mount("https://one.test/", HTTPAdapter())  # of that the caller has thought
    (record,) = [record for record in caplog.records if record.name == "core.http"]
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(
        "A plain HTTPAdapter was mounted for https://, so its calls are not resilient"
    )


@pytest.mark.parametrize("name", ["clock", "wait", "random"])
@pytest.mark.parametrize("owner", OWNERS)
def test_functions_are_checked(owner: type, name: str) -> None:
    """A number instead of a clock raises an error when it is passed, not at the first call."""
    assert refusal(owner, **{name: 5}) == f"{name}=5: must be a function, or None"
    assert refusal(observe, 5) == "observer=5: must be a function of one event"


@pytest.mark.parametrize("partition", [None, 2, b"token", "a token", "x" * 41])
def test_a_partition_is_a_name(partition: Any) -> None:
    """A wrong partition is not shown in the error, because it may be a token."""
    with pytest.raises(ValueError, match="partition= must be a name of up to 40 letters"):
        ResilientSession(partition=partition)


def test_untrusted_is_a_flag() -> None:
    """A text such as "false" does not pass for a value of it, in either sense."""
    assert refusal(ResilientSession, untrusted="false") == "untrusted='false': must be True or False"


@pytest.mark.parametrize("seconds", ["5", None, timedelta(seconds=5)], ids=repr)
def test_within_takes_seconds(seconds: Any) -> None:
    """A text, or a timedelta, is refused where it is given."""
    message = refusal(ResilientSession().within, seconds)
    assert message.startswith(f"seconds={seconds!r}: must be a number of seconds")
    assert message.endswith(": write 5.0") == isinstance(seconds, timedelta)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Policy(3), "Policy(3): pass fields by name, such as Policy(retries=3)"),
        (
            lambda: Policy({"retries": 3}),
            "Policy({'retries': 3}): pass fields by name, such as Policy(retries=3)",
        ),
        (lambda: RetryBudget(0.1), "RetryBudget(0.1): pass fields by name, such as RetryBudget(ratio=0.1)"),
        (lambda: Policy(retry=3), "Policy has no field 'retry': did you mean 'retries'?"),
        (
            lambda: Policy(status_forcelist=[503]),
            "Policy has no field 'status_forcelist': did you mean 'retry_statuses'?",
        ),
        (
            lambda: CircuitBreaker(fail_max=5),
            "CircuitBreaker has no field 'fail_max': did you mean 'failures_in_a_row'?",
        ),
        (
            lambda: RetryBudget(colour=5),
            "RetryBudget has no field 'colour': the known names are ratio, minimum, window",
        ),
        (
            lambda: Policy(attempt_timeout=timedelta(seconds=5)),
            "attempt_timeout=datetime.timedelta(seconds=5): must be a number of seconds above 0 to 86400: write 5.0",
        ),
        (
            lambda: Policy(circuit_breaker=True),
            "circuit_breaker=True: must be CircuitBreaker(…), or None to disable it",
        ),
        (
            lambda: Policy(circuit_breaker={"window": 10}),
            (
                "circuit_breaker={'window': 10}: must be CircuitBreaker(…), or None to disable it: "
                "write CircuitBreaker(window=10)"
            ),
        ),
        (lambda: Policy(retry_budget=False), "retry_budget=False: must be RetryBudget(…), or None to disable it"),
        (
            lambda: Policy(classify="package.classify"),
            (
                "classify='package.classify': must be a function of status, headers and body "
                "(a dotted path is allowed only in OUTBOUND_HTTP), or None"
            ),
        ),
        (
            lambda: Verdict("transient"),
            (
                "meaning='transient': write Verdict.success(), Verdict.permanent(), Verdict.transient(), "
                "Verdict.rate_limited()"
            ),
        ),
        (lambda: Verdict.transient("60"), "seconds='60': must be a number of seconds, or None"),
        (
            lambda: Verdict.rate_limited(timedelta(minutes=1)),
            "seconds=datetime.timedelta(seconds=60): must be a number of seconds, or None: write 60.0",
        ),
        (lambda: Verdict.rate_limited(60, doubled=2), "doubled=2: must be True or False"),
        (lambda: Verdict.rate_limited(60, why=403), "why=403: must be text"),
    ],
    ids=lambda case: "" if callable(case) else case.split(":")[0],
)
def test_settings_say_what_to_write(make: Callable[[], object], message: str) -> None:
    """The errors for fields by position, with names of other libraries or of another type say what to write."""
    assert refusal(make) == message


@pytest.mark.parametrize("statuses", [[503], (503,), {503}, frozenset({503}), range(503, 504)])
def test_statuses_may_be_any_collection(statuses: Any) -> None:
    """Statuses are stored as a frozenset, so that a policy is immutable and can be compared."""
    policy = Policy(retry_statuses=statuses, retry_methods=["GET"])
    assert policy == Policy(retry_statuses={503}, retry_methods={"GET"})
    assert isinstance(policy.retry_statuses, frozenset)


def test_a_policy_can_be_copied_and_pickled() -> None:
    """As every frozen dataclass."""
    policy = Policy(retries=1, circuit_breaker=CircuitBreaker(window=10))
    assert pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy) == copy.copy(policy) == policy
