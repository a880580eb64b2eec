"""Write all generated files: `python -m grafana.generate`. With `--check`, list outdated files instead."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from grafana.generate import dashboard, managed, prometheus

ROOT = Path(__file__).parents[2]


def generated() -> dict[str, str]:
    """Return the text of each file, by its path in the repository."""
    return {**prometheus.rule_files(), **managed.files(), **dashboard.files()}


def outdated() -> list[str]:
    """Return the paths of files that are missing or differ from the generated text."""
    return [path for path, text in generated().items() if not _is(ROOT / path, text)]


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m grafana.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1: something is out of date")
    if parser.parse_args().check:
        if paths := outdated():
            sys.exit("Out of date, run `python -m grafana.generate`:\n" + "\n".join(paths))
        return
    for path, text in generated().items():
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
