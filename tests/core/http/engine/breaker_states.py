"""Circuit breakers in each of their states."""

from __future__ import annotations

from core.http.engine.attempt_health import Health
from core.http.engine.circuit_breaker import Breaker, Permit
from core.http.events import BreakerState
from core.http.policy import CircuitBreaker
from core.http.testing import FakeClock

SUCCESS, FAILURE, NEITHER = Health.SUCCESS, Health.FAILURE, Health.NEITHER


class Patient:
    """A breaker on a fake clock."""

    def __init__(self, settings: CircuitBreaker | None = None) -> None:
        self.clock = FakeClock(1000.0)
        self.breaker = Breaker(settings or CircuitBreaker())

    @property
    def state(self) -> BreakerState:
        return self.breaker.state

    def permit(self) -> Permit:
        permit = self.breaker.acquire(self.clock.now, 10.0)
        assert permit is not None
        return permit

    def refuses(self) -> bool:
        return self.breaker.acquire(self.clock.now, 10.0) is None

    def attempt(self, verdict: Health, times: int = 1) -> BreakerState | None:
        """Make attempts; return the result of the last one."""
        state = None
        for _ in range(times):
            state = self.breaker.record(self.permit(), verdict, self.clock.now)
        return state

    def report(self, permit: Permit, verdict: Health) -> BreakerState | None:
        return self.breaker.record(permit, verdict, self.clock.now)


def a_closed_one(settings: CircuitBreaker | None = None) -> Patient:
    return Patient(settings)


def an_open_one(settings: CircuitBreaker | None = None) -> Patient:
    patient = Patient(settings)
    while patient.state is BreakerState.CLOSED:
        patient.attempt(FAILURE)
    return patient
