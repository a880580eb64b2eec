"""The command load_sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core import serializers
from django.core.management.base import BaseCommand

_SAMPLE = Path(__file__).resolve().parents[2] / "fixtures" / "sample.json"


class Command(BaseCommand):
    help = "Add about ten well-known packages, to try out the site. Existing packages are not changed."

    def handle(self, *_: Any, **__: Any) -> None:
        added = 0
        for entry in serializers.deserialize("json", _SAMPLE.read_text()):
            if not type(entry.object).objects.filter(slug=entry.object.slug).exists():  # type: ignore[attr-defined]  # both models have one
                entry.save()
                added += 1
        self.stdout.write(f"{added} sample records added.")
