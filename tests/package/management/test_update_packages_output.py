"""update_packages: the lines, the table, the JSON and the progress bar that it prints."""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest
from django.utils import timezone

from package.models import Package
from tests.package.conftest import CannedPyPI, MakePackage
from tests.package.management.conftest import Command
from tests.pages import documented_keys, text_of
from tests.upstreams.pypi import project


def table(out: str) -> dict[str, list[str]]:
    """Parse the table in the output: the cells of each row by its first cell."""
    rows = [re.split(r"[│┃]", line.strip("│┃ \n")) for line in out.splitlines() if line[:1] in {"│", "┃"}]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}


class TestOutput:
    """The output of the command."""

    @pytest.fixture(autouse=True)
    def _packages(self, make_package: MakePackage, pypi: CannedPyPI) -> None:
        for slug in ("good", "missing", "down", "odd"):
            make_package(slug)
        make_package("bare", pypi_url="")
        pypi.knows("good")
        pypi.answers("missing", 404)
        pypi.answers("down", 503)
        pypi.knows("odd", project_urls=5)

    def test_lines_and_a_summary(self, update_packages: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """Without a terminal, the output has a line for each package, with reasons, and a table."""
        assert update_packages() == 0
        out = capsys.readouterr().out
        assert "[2/5] good: pypi updated, pypistats updated\n" in out
        assert "[3/5] missing: pypi not found, pypistats updated (" in out
        assert "[4/5] down: pypi put aside, pypistats updated (" in out
        assert "HTTP 503" in out
        assert "[5/5] odd: pypi partly updated, pypistats updated (documentation_url: must be an object" in out
        assert "[1/5] bare: pypi skipped (" in out
        assert "[again] down: pypi put aside (" in out
        assert table(out) == {
            "source": ["updated", "partly updated", "not found", "failed", "skipped"],
            "pypi": ["1", "1", "1", "1", "1"],
            "pypistats": ["4", "0", "0", "0", "0"],
        }
        assert "4 packages in" in out, "no source was asked for bare"
        assert "retries" in out
        assert "lost to backoff" in out
        assert "times a part was put aside for later in the run" in out
        assert "left for the next run" not in out

    def test_paused_sources(
        self, update_packages: Command, pypi: CannedPyPI, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The table has a column for parts of paused sources, and a line below gives their number and the reason."""
        pypi.answers("good", 429, headers={"Retry-After": "900"})
        assert update_packages() == 0
        out = capsys.readouterr().out
        rows = table(out)
        assert dict(zip(rows["source"], rows["pypi"], strict=True)) == {
            "updated": "0",
            "left alone": "4",
            "skipped": "1",
        }
        assert "[3/5] missing: pypi put aside, pypistats updated (" in out
        assert "pypi: 4 parts left for the next run: " in out
        assert "limits our rate; nothing is sent before" in out

    def test_unchanged_packages(
        self, update_packages: Command, pypi: CannedPyPI, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The output counts 304 answers, and the table has a column for unchanged parts."""
        pypi.says("good", project("good"), headers={"ETag": '"1"'})
        update_packages("good")
        pypi.answers("good", 304)
        capsys.readouterr()
        assert update_packages("good") == 0
        out = capsys.readouterr().out
        assert "[1/1] good: pypi unchanged, pypistats updated\n" in out
        assert table(out)["source"] == ["updated", "unchanged"]
        assert "2 attempts (1 were answered by 304: unchanged), 0 retries" in out

    def test_json(self, update_packages: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """With --json, stdout has the JSON for programs, and stderr has the lines for people."""
        assert update_packages("--json") == 0
        captured = capsys.readouterr()
        summary = json.loads(captured.out)
        assert summary["sources"]["pypi"] == {
            "updated": 1,
            "partly_updated": 1,
            "unchanged": 0,
            "not_found": 1,
            "failed": 1,
            "not_ready": 0,
            "left_alone": 0,
            "skipped": 1,
        }
        assert (summary["tried"], summary["left"], summary["stopped"]) == (4, 0, "")
        assert summary["version"] == 1
        assert summary["put_aside"] > 0
        assert summary["unchanged"] == 0
        assert summary["left_alone"] == {}
        assert summary["attempts"] - summary["retries"] == 8 + summary["put_aside"] - 1
        assert summary["seconds"] >= summary["backoff_seconds"] > 0
        assert "[2/5] good" in captured.err

    def test_json_is_documented(self, update_packages: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """docs/operations.md has a row for every key and names every outcome; all of them are in snake_case."""
        assert update_packages("--json") == 0
        summary = json.loads(capsys.readouterr().out)
        assert set(summary) == documented_keys("threads")
        outcomes = {outcome for counts in summary["sources"].values() for outcome in counts}
        section = text_of("operations.md", "## Machine-readable output")
        assert {"updated", "not_found", "left_alone"} <= outcomes
        assert [outcome for outcome in outcomes if f"`{outcome}`" not in section] == []
        assert all(re.fullmatch("[a-z_]+", name) for name in {*summary, *outcomes})

    def test_json_of_paused_sources(
        self, update_packages: Command, pypi: CannedPyPI, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The JSON has each paused source with its number of parts, the reason and the end of the pause."""
        pypi.answers("good", 429, headers={"Retry-After": "900"})
        assert update_packages("--json") == 0
        [(source, left)] = json.loads(capsys.readouterr().out)["left_alone"].items()
        assert (source, left["parts"]) == ("pypi", 4)
        assert left["why"].startswith("PyPI limits our rate; nothing is sent before ")
        assert 890 < (datetime.fromisoformat(left["until"]) - timezone.now()).total_seconds() <= 900

    def test_packages_without_a_request_were_not_tried(
        self, update_packages: Command, pypi: CannedPyPI, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """If all sources limit our rate, the output says so, and no package counts as tried."""
        Package.objects.filter(slug="bare").delete()
        pypi.answers("good", 429, headers={"Retry-After": "900"})
        pypi.statistics_answer(429, headers={"Retry-After": "900"})
        assert update_packages("good", "--json") == 1
        assert json.loads(capsys.readouterr().out)["tried"] == 1
        assert update_packages("--json") == 1
        summary = json.loads(capsys.readouterr().out)
        assert (summary["tried"], summary["left"], summary["attempts"]) == (0, 0, 0)
        assert {source: left["parts"] for source, left in summary["left_alone"].items()} == {"pypi": 4, "pypistats": 4}
        assert not Package.objects.exclude(last_fetched=None).exists()
        assert update_packages() == 1
        out = capsys.readouterr().out
        assert "0 packages in" in out
        assert "pypi: 4 parts left for the next run: PyPI limits our rate; nothing is sent before " in out
        assert "pypistats: 4 parts left for the next run: " in out
        assert "No package is due." not in out

    def test_json_of_nothing(self, update_packages: Command, capsys: pytest.CaptureFixture[str]) -> None:
        """A run without work prints JSON too."""
        Package.objects.all().delete()
        assert update_packages("--json") == 0
        assert json.loads(capsys.readouterr().out)["tried"] == 0

    @pytest.mark.parametrize("args", [[], ["--json"]])
    def test_a_bar_on_a_terminal(
        self,
        update_packages: Command,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        args: list[str],
    ) -> None:
        """The bar is drawn on stderr, so that it does not mix with the output on stdout."""
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        update_packages(*args)
        captured = capsys.readouterr()
        assert "5/5" in captured.err
        assert "[1/5]" not in captured.out
        assert "5/5" not in captured.out
