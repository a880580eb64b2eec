"""The command check_package_examples."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from rich.console import Console
from rich.table import Table

from package.jobs.example_checks import APART, PERMANENT_IN_A_ROW, CheckOutcome, ExamplesSummary, check, to_check
from package.management.long_command import add_options, conduct, refuse_unknown


class Command(BaseCommand):
    help = (
        "Check whether the example pages that users submitted still exist. An example becomes inactive after "
        f"{PERMANENT_IN_A_ROW} responses in a row that say that the page is gone (HTTP 404, 410 or 451), each at least "
        f"{APART.total_seconds() / 3600:g} hours after the last one. Other failures, such as 5xx, 429 or network "
        "errors, do not count. Pages for which such a response would count now come first, then those whose last check "
        "is oldest. Exit status: 0 the work was done, even if some examples failed; 1 no server could be reached, or "
        "the database failed; 2 invalid arguments; 128 + n stopped by signal n. The first Ctrl-C (or SIGTERM) ends the "
        "run after the current attempt, the second one immediately."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", nargs="*", help="check the examples of these packages (default: of all)")
        parser.add_argument(
            "--all",
            action="store_true",
            help="also check examples that this command made inactive; if the page exists, they become active again",
        )
        add_options(parser, verb="check", rows="examples")

    def handle(self, *_: Any, **options: Any) -> None:
        refuse_unknown(options["slug"])
        chosen = to_check(options["slug"], inactive=options["all"]).values_list("pk", flat=True)
        primary_keys = list(chosen[: options["limit"]])
        conduct(self, options, len(primary_keys), partial(check, primary_keys), _show, row="example")


def _show(summary: ExamplesSummary, console: Console) -> None:
    if not summary.tried and not summary.left:
        console.print("No example to check.")
        return
    table = Table("outcome", "examples", title="check_package_examples")
    for outcome in CheckOutcome:
        table.add_row(outcome.value, str(summary.outcomes[outcome]))
    console.print(table)
    console.print(summary.cost("examples"))
    for what, names in (
        ("Now inactive", summary.deactivated),
        ("Active again", summary.activated),
        ("Not checked (still active): correct the address, which is not allowed", summary.refused),
    ):
        for name in names:
            console.print(f"{what}: {name}", soft_wrap=True)
    if summary.left:
        console.print(f"{summary.left} examples left for the next run: {summary.stopped}")
    if summary.reached_nothing:
        console.print("No server could be reached. All examples keep their state.")
