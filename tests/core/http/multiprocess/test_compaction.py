"""The files of processes that have ended are merged, and nothing that they counted is lost or counted twice."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.http.multiprocess import compaction
from core.http.multiprocess.compaction import KEPT
from tests.core.http.multiprocess.conftest import Scrape, Write

Alive = Callable[[str], None]
MANY = 40


@pytest.fixture
def many(write: Write) -> float:
    """Create the files of many processes. Returns their total."""
    for n in range(MANY):
        leave(write, n)
    return MANY * (MANY - 1) / 2


def leave(write: Write, n: int) -> None:
    identity = f"web-a-{n}"
    write("counter", identity, {"calls_total": n}, upstream="pypi")
    write("histogram", identity, {"seconds_bucket": n}, le="+Inf")
    write("gauge_mostrecent", identity, {"quota": n}, at=1000.0 + n)
    write("gauge_min", identity, {"since": 100 + n})
    write("gauge_livesum", identity, {"active": 1.0})
    write("gauge_all", identity, {"level": 1.0})


def test_however_many_come_and_go_few_files_stay(many: float, scrape: Scrape, tmp_path: Path) -> None:
    """A scrape takes as long as there are files."""
    scrape("calls_total", role="web", upstream="pypi")
    assert sorted(path.name for path in tmp_path.glob("*")) == [
        "counter_web-ended.db",
        "directory.lock",
        "gauge_min_web-ended.db",
        "gauge_mostrecent_web-ended.db",
        "histogram_web-ended.db",
    ]


def test_nothing_is_lost(many: float, write: Write, scrape: Scrape) -> None:
    """Sums are those of before, again and again."""
    for more in range(3):
        for n in range(KEPT + 1):
            write("counter", f"web-{more}-{n}", {"calls_total": 1.0}, upstream="pypi")
        assert scrape("calls_total", role="web", upstream="pypi") == many + (more + 1) * (KEPT + 1)
    assert scrape("seconds_count", role="web") == many
    assert scrape("quota", role="web") == MANY - 1
    assert scrape("since", role="web") == 100


def test_gauges_in_flight_are_dropped(many: float, scrape: Scrape) -> None:
    """Calls in flight of ended processes are not merged."""
    assert scrape("active", role="web") is None
    assert scrape("level", role="web", pid="web-a-1") is None


def test_the_living_keep_their_files(many: float, alive: Alive, scrape: Scrape, tmp_path: Path) -> None:
    """Files of running processes are not merged."""
    alive("web-a-7")
    assert scrape("calls_total", role="web", upstream="pypi") == many
    assert scrape("active", role="web") == 1.0
    assert (tmp_path / "counter_web-a-7.db").exists()


def test_files_of_programs_without_a_role_stay(many: float, write: Write, scrape: Scrape, tmp_path: Path) -> None:
    """Files of programs without a role are not merged, because it is not known whether they run."""
    write("counter", "4711", {"calls_total": 2.0})
    scrape("calls_total", role="other")
    assert (tmp_path / "counter_4711.db").exists()


def test_a_few_are_left_alone(write: Write, scrape: Scrape, tmp_path: Path) -> None:
    """A few files are not merged, because the next run of a job continues to use its file."""
    write("counter", "job-update-packages", {"calls_total": 1.0})
    for n in range(KEPT - 1):
        write("counter", f"web-a-{n}", {"calls_total": 1.0})
    scrape("calls_total", role="job")
    assert (tmp_path / "counter_job-update-packages.db").exists()


def test_nothing_is_merged_on_a_full_disk(
    many: float, scrape: Scrape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written to a full file system, which would kill the process; the scrape is complete."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**20))
    assert scrape("calls_total", role="web", upstream="pypi") == many
    assert not (tmp_path / "counter_web-ended.db").exists()


class _Killed(BaseException):
    """Simulates SIGKILL: no cleanup runs after it."""


def test_one_that_is_killed_in_between_counts_nothing_twice(
    write: Write, scrape: Scrape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After whichever of its changes to the directory that happens, the next one sees the same sums."""
    for survived in count():
        for path in tmp_path.iterdir():
            path.unlink()
        for n in range(KEPT + 1):
            write("counter", f"web-a-{n}", {"calls_total": 1.0})
            write("gauge_min", f"worker-a-{n}", {"since": 100 + n})
        write("counter", "web-ended", {"calls_total": 100.0})
        with monkeypatch.context() as patch:
            killed = _kill_after(survived, patch, lambda: compaction.tidy(tmp_path))
        assert scrape("calls_total", role="web") == 100 + KEPT + 1
        assert scrape("since", role="worker") == 100
        if not killed:
            break
    assert survived > 2 * KEPT


def _kill_after(changes: int, patch: pytest.MonkeyPatch, work: Callable[[], None]) -> bool:
    """Run `work`, and end it before one more change. Returns whether there would have been one."""
    made = count(1)

    def limited(method: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if next(made) > changes:
                raise _Killed
            return method(*args, **kwargs)

        return call

    for name in ("replace", "unlink", "write_text"):
        patch.setattr(Path, name, limited(getattr(Path, name)))
    try:
        work()
    except _Killed:
        return True
    return False


def test_an_empty_journal_is_ignored(write: Write, scrape: Scrape, tmp_path: Path) -> None:
    """A journal that is empty after a crash of the machine is ignored."""
    write("counter", "web-a-1", {"calls_total": 1.0})
    (tmp_path / "ended.json").touch()
    assert scrape("calls_total", role="web") == 1.0
    assert not (tmp_path / "ended.json").exists()
