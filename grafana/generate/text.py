"""How generated YAML looks."""

from __future__ import annotations

from typing import Any

import yaml

_HEADER = "# Made by `python -m grafana.generate` from grafana/generate/: change it there.\n"


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as such."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def document(content: dict[str, Any]) -> str:
    return _HEADER + yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
