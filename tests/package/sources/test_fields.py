"""Reading single values from responses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from package.sources.fields import BadField, date


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2011-09-08T02:38:50+518:00", datetime(2011, 8, 17, 12, 38, 50, tzinfo=UTC)),
        ("2018-01-24T22:36:22.000-3407", datetime(2018, 1, 26, 8, 43, 22, tzinfo=UTC)),
        ("2022-01-01T12:00:00+24:00", datetime(2021, 12, 31, 12, tzinfo=UTC)),
        ("2022-01-01T12:00:00+23:59", datetime(2021, 12, 31, 12, 1, tzinfo=UTC)),
        ("2024-02-20T07:57:43.874-08:00", datetime(2024, 2, 20, 15, 57, 43, 874_000, tzinfo=UTC)),
        ("2012-09-20T11:50:22+03:00", datetime(2012, 9, 20, 8, 50, 22, tzinfo=UTC)),
    ],
)
def test_a_date_may_have_any_offset(written: str, time: datetime) -> None:
    """A date may have any offset, even of weeks."""
    assert date(written) == time


@pytest.mark.parametrize(
    "written",
    ["2026-02-30", "2026-0230", "2011-09-08T02:38:50+5180000:00", "T1+9999:00", "9999-12-31T23:59:59-9999:99"],
)
def test_invalid_dates_are_refused(written: str) -> None:
    """Invalid dates are refused."""
    with pytest.raises(BadField):
        date(written)
