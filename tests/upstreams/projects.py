"""A project on PyPI as a few numbers, from which its releases are computed on request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(slots=True)
class FakeProject:
    """On PyPI. `made` releases, `pace` seconds apart, and those of `released`."""

    name: str
    license: str
    requires_python: str
    status: str
    last_month: int
    """Downloads."""
    born: int
    made: int
    pace: int
    released: tuple[int, ...] = ()

    @property
    def releases(self) -> list[tuple[str, datetime]]:
        """Versions and when they were uploaded, the oldest first."""
        times = (*(self.born + number * self.pace for number in range(self.made)), *self.released)
        return [
            (f"{1 + number // 10}.{number % 10}", datetime.fromtimestamp(time, UTC))
            for number, time in enumerate(times)
        ]

    @property
    def version(self) -> str:
        return self.releases[-1][0]

    @property
    def last_week(self) -> int:
        return self.last_month * 7 // 30

    @property
    def last_day(self) -> int:
        return self.last_month // 30

    @property
    def classifiers(self) -> list[str]:
        return [
            f"Development Status :: {self.status}",
            "Framework :: Django",
            f"License :: OSI Approved :: {self.license} License",
            "Programming Language :: Python :: 3",
        ]
