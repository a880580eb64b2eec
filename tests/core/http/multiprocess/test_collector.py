"""A scrape of the files of several processes."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from core.http.multiprocess import Collector
from core.http.multiprocess.directory import locked
from tests.core.http.multiprocess.conftest import Scrape, Write

Alive = Callable[[str], None]


def test_counters_are_added_up_by_role(write: Write, scrape: Scrape) -> None:
    """Each role has a series with the sum over its processes."""
    write("counter", "web-a-1", {"calls_total": 2.0}, upstream="pypi")
    write("counter", "web-b-1", {"calls_total": 3.0}, upstream="pypi")
    write("counter", "worker-a-1", {"calls_total": 40.0}, upstream="pypi")
    assert scrape("calls_total", upstream="pypi", role="web") == 5.0
    assert scrape("calls_total", upstream="pypi", role="worker") == 40.0


def test_later_scrapes_show_later_values_and_series(write: Write, scrape: Scrape, tmp_path: Path) -> None:
    """Data that a scrape keeps from the last one hides neither a new series nor a new file of the same name."""
    write("counter", "web-a-1", {"calls_total": 2.0}, upstream="pypi")
    assert scrape("calls_total", upstream="pypi", role="web") == 2.0
    write("counter", "web-a-1", {"calls_total": 3.0}, upstream="pypi")
    write("counter", "web-a-1", {"calls_total": 7.0}, upstream="codeberg")
    assert scrape("calls_total", upstream="pypi", role="web") == 3.0
    assert scrape("calls_total", upstream="codeberg", role="web") == 7.0
    (tmp_path / "counter_web-a-1.db").unlink()
    write("counter", "web-a-1", {"calls_total": 5.0}, upstream="npmi")  # as long as the name before
    assert scrape("calls_total", upstream="npmi", role="web") == 5.0
    assert scrape("calls_total", upstream="pypi", role="web") is None


def test_a_role_without_processes_has_series_with_zeros(write: Write, scrape: Scrape) -> None:
    """Series exist with 0 before the first count, because Prometheus' increase() would miss it otherwise."""
    write("counter", "web-a-1", {"calls_total": 2.0}, upstream="pypi")
    assert scrape("calls_total", upstream="pypi", role="job") == 0.0


def test_label_values_of_one_role_are_zero_for_the_others(write: Write, scrape: Scrape) -> None:
    """A label value that only workers have counted is a series of the web with 0."""
    write("counter", "worker-a-1", {"calls_total": 2.0}, upstream="pypi")
    write("counter", "web-a-1", {"calls_total": 2.0}, upstream="github")
    assert scrape("calls_total", upstream="pypi", role="web") == 0.0


def test_removing_the_files_of_a_role_resets_its_series(write: Write, scrape: Scrape, tmp_path: Path) -> None:
    """The series restart at 0, as after a reset of a counter; those of other roles do not change."""
    write("counter", "web-a-1", {"calls_total": 80.0}, upstream="pypi")
    write("counter", "worker-a-1", {"calls_total": 55.0}, upstream="pypi")
    for path in tmp_path.glob("*_web-*.db"):
        path.unlink()
    assert scrape("calls_total", upstream="pypi", role="web") == 0.0
    assert scrape("calls_total", upstream="pypi", role="worker") == 55.0


def test_histograms(write: Write, scrape: Scrape) -> None:
    """Buckets are cumulative and agree with sum and count, in any order of the files."""
    for identity in ("web-a-1", "web-a-2"):
        for le, count in (("+Inf", 1.0), ("0.5", 2.0), ("1.0", 4.0)):
            write("histogram", identity, {"seconds_bucket": count}, upstream="pypi", le=le)
        write("histogram", identity, {"seconds_sum": 1.5}, upstream="pypi")
    assert scrape("seconds_bucket", upstream="pypi", role="web", le="0.5") == 4.0
    assert scrape("seconds_bucket", upstream="pypi", role="web", le="1.0") == 12.0
    assert scrape("seconds_bucket", upstream="pypi", role="web", le="+Inf") == 14.0
    assert scrape("seconds_count", upstream="pypi", role="web") == 14.0
    assert scrape("seconds_sum", upstream="pypi", role="web") == 3.0
    assert scrape("seconds_bucket", upstream="pypi", role="job", le="1.0") == 0.0
    assert scrape("seconds_count", upstream="pypi", role="job") == 0.0


@pytest.mark.parametrize(
    ("mode", "expected"), [("min", 2.0), ("max", 7.0), ("sum", 9.0), ("livesum", 9.0), ("livemax", 7.0)]
)
def test_gauges_of_several_processes_become_one(
    write: Write, scrape: Scrape, alive: Alive, mode: str, expected: float
) -> None:
    """Gauges are combined in their declared mode."""
    for identity, value in (("web-a-1", 7.0), ("web-a-2", 2.0)):
        alive(identity)
        write(f"gauge_{mode}", identity, {"level": value})
    assert scrape("level", role="web") == expected


def test_the_most_recent_value_is_that_of_the_latest_process(write: Write, scrape: Scrape) -> None:
    """The latest value counts, not that of the last file; a gauge that was never set is not shown."""
    write("gauge_mostrecent", "web-a-1", {"quota": 7.0}, at=200.0)
    write("gauge_mostrecent", "web-a-2", {"quota": 9.0}, at=100.0)
    write("gauge_mostrecent", "web-a-3", {"quota": 0.0, "other": 0.0})
    assert scrape("quota", role="web") == 7.0
    assert scrape("other", role="web") is None


def test_gauges_that_were_not_set_are_not_shown(write: Write, scrape: Scrape) -> None:
    """An unknown quota is not shown as 0."""
    write("gauge_mostrecent", "worker-a-1", {"quota": 7.0}, at=200.0)
    assert scrape("quota", role="web") is None


@pytest.mark.parametrize("mode", ["all", "liveall"])
def test_gauges_of_single_processes_have_their_id(write: Write, scrape: Scrape, alive: Alive, mode: str) -> None:
    """Gauges of other libraries, in prometheus_client's default mode, have the id of their process."""
    for identity, value in (("web-a-1", 7.0), ("web-a-2", 2.0)):
        alive(identity)
        write(f"gauge_{mode}", identity, {"level": value})
    assert scrape("level", role="web", pid="web-a-1") == 7.0
    assert scrape("level", role="web", pid="web-a-2") == 2.0


def test_gauges_in_flight_of_ended_processes_are_dropped(write: Write, scrape: Scrape, alive: Alive) -> None:
    """Calls in flight of a killed process do not count."""
    alive("web-a-1")
    write("gauge_livesum", "web-a-1", {"active": 1.0})
    write("gauge_livesum", "web-a-2", {"active": 4.0})
    assert scrape("active", role="web") == 1.0


def test_a_process_that_takes_no_part_is_shown_too(write: Write, scrape: Scrape) -> None:
    """Files of programs without a role, or of an older version, are shown with the role "other"."""
    write("counter", "4711", {"calls_total": 2.0})
    write("gauge_livesum", "4711", {"active": 1.0})
    assert scrape("calls_total", role="other") == 2.0
    assert scrape("active", role="other") == 1.0


def test_a_file_that_cannot_be_read_hides_no_other(
    write: Write, scrape: Scrape, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that cannot be read is logged and does not hide others; a new, empty file is not logged."""
    write("counter", "web-a-1", {"calls_total": 2.0})
    (tmp_path / "counter_web-a-2.db").touch()
    (tmp_path / "counter_web-a-3.db").write_bytes(b"\xff\xff\xff\x7f" + bytes(100))
    with caplog.at_level(logging.WARNING):
        assert scrape("calls_total", role="web") == 2.0
    assert "counter_web-a-3.db" in caplog.text
    assert "counter_web-a-2.db" not in caplog.text


def test_a_file_that_ends_in_garbage_is_counted_up_to_it(
    write: Write, scrape: Scrape, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The entries before the first unreadable one are counted, and the log names the file."""
    write("counter", "web-a-1", {"c_total": 1.0, "d_total": 2.0})
    file = tmp_path / "counter_web-a-1.db"
    with file.open("r+b") as data:
        used = int.from_bytes(data.read(4), sys.byteorder)
        data.seek(0)
        data.write((used + 4096).to_bytes(4, sys.byteorder))
        data.seek(used)
        data.write((2**20).to_bytes(4, sys.byteorder))  # the length of a key
    assert scrape("c_total", role="web") == 1.0
    assert scrape("d_total", role="web") == 2.0
    assert "only a part of this file is counted" in caplog.text


def test_a_scrape_can_be_written_down(write: Write, tmp_path: Path) -> None:
    """Prometheus gets names, types and help as usual."""
    write("counter", "web-a-1", {"calls_total": 2.0}, upstream="pypi")
    registry = CollectorRegistry()
    registry.register(Collector(tmp_path))
    text = generate_latest(registry).decode()
    assert "# HELP calls_total Help.\n# TYPE calls_total counter\n" in text
    assert 'calls_total{role="web",upstream="pypi"} 2.0\n' in text


def test_histograms_can_be_read_as_openmetrics(write: Write, tmp_path: Path) -> None:
    """The samples of a labelset are consecutive, as OpenMetrics requires."""
    for identity in ("web-a-1", "worker-a-2"):
        for upstream in ("pypi", "github"):
            for le, count in (("+Inf", 1.0), ("0.5", 2.0)):
                write("histogram", identity, {"seconds_bucket": count}, upstream=upstream, le=le)
            write("histogram", identity, {"seconds_sum": 1.5}, upstream=upstream)
    registry = CollectorRegistry()
    registry.register(Collector(tmp_path))
    (family,) = text_string_to_metric_families(openmetrics.generate_latest(registry).decode())
    assert {(s.labels["role"], s.labels["upstream"]) for s in family.samples if s.value == 1.5} == {
        (role, upstream) for role in ("web", "worker") for upstream in ("pypi", "github")
    }


def test_a_help_text_may_be_worded_otherwise(write: Write, scrape: Scrape, tmp_path: Path) -> None:
    """The help text is part of the key in the files, but series with different texts are merged."""
    write("counter", "web-a-1", {"calls_total": 100.0}, upstream="pypi")
    old = (tmp_path / "counter_web-a-1.db").read_bytes()
    (tmp_path / "counter_web-a-2.db").write_bytes(old.replace(b"Help.", b"HELP!"))
    assert scrape("calls_total", upstream="pypi", role="web") == 200.0


def test_a_minimum_is_of_those_who_set_it(write: Write, scrape: Scrape) -> None:
    """A process that forks off has every gauge of its parent, at 0."""
    write("gauge_min", "worker-a-1", {"since": 1_000_000.0})
    write("gauge_min", "worker-a-2", {"since": 0.0})
    assert scrape("since", role="worker") == 1_000_000.0


def test_an_invalid_key_hides_no_other(write: Write, scrape: Scrape, tmp_path: Path) -> None:
    """A file that was only partly written when the machine crashed does not hide the others."""
    write("counter", "web-a-1", {"calls_total": 2.0, "more_total": 1.0})
    path = tmp_path / "counter_web-a-1.db"
    path.write_bytes(path.read_bytes().replace(b'["more"', b'["mo\0e"'))
    assert scrape("calls_total", role="web") == 2.0


def test_no_scrape_during_a_merge(
    write: Write, scrape: Scrape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scrape during a merge fails, because its sums would be wrong."""
    monkeypatch.setattr("core.http.multiprocess.directory._PATIENCE", 0.0)
    write("counter", "web-a-1", {"calls_total": 2.0})
    with locked(tmp_path), pytest.raises(TimeoutError):
        scrape("calls_total", role="web")


def test_a_file_that_cannot_be_opened_for_now_is_not_left_out(
    write: Write, scrape: Scrape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters that go down and up again look like thousands of calls."""
    write("counter", "web-a-1", {"calls_total": 2.0})
    monkeypatch.setattr(MmapedDict, "read_all_values_from_file", Mock(side_effect=OSError(errno.EMFILE, "Too many")))
    with pytest.raises(OSError, match="Too many"):
        scrape("calls_total", role="web")
