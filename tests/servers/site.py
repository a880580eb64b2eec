"""A site of its own, with a database that a test can read while others work in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import dj_database_url
from django.core.management import call_command
from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.models import Model
from django.utils import timezone

from package.jobs.due import in_order
from package.models import Category, Claim, Package
from tests.servers.common import LONGEST, free_port
from tests.servers.program import Program
from tests.upstreams.judging import differences
from tests.upstreams.server import Upstreams

_ALIAS = "site"


class Site:
    """The site, with the packages of a world."""

    def __init__(self, upstreams: Upstreams, directory: Path, database_url: str, **environment: str) -> None:
        """`environment`: variables besides those that every site needs."""
        self._upstreams = upstreams
        self._directory = directory
        self._programs = 0
        self.environment: Mapping[str, str] = {
            **{name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"},
            **upstreams.environment,
            **dict.fromkeys(_TOKENS, ""),
            "CACHE_URL": "",
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",  # an address without a server
            "DATABASE_URL": database_url,
            "DEBUG": "false",
            "DJANGO_SETTINGS_MODULE": "tests.servers.hurried.settings",
            "LOG_LEVEL": "INFO",
            "METRICS_TOKENS": "",
            "NO_PROXY": "127.0.0.1",
            "SECRET_KEY": "for tests only",
            **environment,
        }

    def fill(self) -> None:
        """Make the tables, and list the packages; nothing is known of them yet."""
        make_tables()
        category = Category.objects.using(_ALIAS).create(title="App", slug="app")
        Package.objects.using(_ALIAS).bulk_create(
            Package(
                title=package.title,
                slug=package.slug,
                category=category,
                pypi_url=package.pypi,
                repo_url=self._upstreams.repo_url(package),
                repo_host=package.kind,
            )
            for package in self._upstreams.world.packages
        )

    def add(self, row: Model) -> None:
        """Store a new row."""
        row.save(using=_ALIAS)

    def start(self, *command: str, **environment: str) -> Program:
        """Start a command of `manage.py`. `environment`: variables besides those of the site."""
        return Program(["manage.py", *command], {**self.environment, **environment}, self.log(command[0]))

    def log(self, name: str) -> Path:
        """Return the path of the log of a new program."""
        self._programs += 1
        return self._directory / f"{self._programs:02}-{name}.log"

    def run(self, *command: str) -> str:
        """Run a command that has to succeed. Returns its output."""
        program = self.start(*command)
        with program:
            assert program.wait(LONGEST) == 0, program.said
        return program.said

    # The stored data

    @property
    def packages(self) -> list[Package]:
        """All of them as they were at one moment, with their source statuses."""
        connections[_ALIAS].close()  # it may be one to a server that was killed
        stored = Package.objects.using(_ALIAS).select_related("latest_version").prefetch_related("sources")
        with transaction.atomic(_ALIAS):
            if connections[_ALIAS].vendor == "postgresql":  # whose statements see a moment each, otherwise
                connections[_ALIAS].cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            return list(stored)

    @property
    def claims(self) -> set[tuple[str, str]]:
        """The sources of packages that are queued or claimed."""
        return {(claim.package.slug, claim.source) for claim in Claim.objects.using(_ALIAS).select_related("package")}

    @property
    def queue(self) -> list[str]:
        """The slugs of all packages, in the order of their refresh."""
        return list(in_order(Package.objects.using(_ALIAS).all()).values_list("slug", flat=True))

    @property
    def due(self) -> list[str]:
        packages = Package.objects.using(_ALIAS).filter(next_due__gt=timezone.now())
        return list(in_order(Package.objects.using(_ALIAS).exclude(pk__in=packages)).values_list("slug", flat=True))

    @property
    def behind(self) -> list[str]:
        """Return the packages that are not up to date, with the reasons."""
        stored = {package.slug: package for package in self.packages}
        return [
            f"{package.slug}: {', '.join(wrong)}: {[str(row.in_words) for row in stored[package.slug].sources.all()]}"
            for package in self._upstreams.world.packages
            if (wrong := list(differences(self._upstreams.world, package, stored[package.slug])))
        ]

    def settled(self) -> bool:
        """Return whether nothing is due, queued or claimed; False while the database is away."""
        try:
            return not self.due and not self.claims
        except (OperationalError, InterfaceError):
            connections[_ALIAS].close()
            return False

    def end_all_leases(self) -> None:
        """Make every claim free to others, as if its lease had run out."""
        ended = timezone.now() - timedelta(seconds=1)
        Claim.objects.using(_ALIAS).filter(until__gt=ended).update(until=ended)

    def drop_the_queue(self) -> None:
        """Delete all tickets and claims, after their owners were killed."""
        Claim.objects.using(_ALIAS).all().delete()

    def make_everything_due(self) -> None:
        """Let it be tomorrow."""
        for package in self.packages:
            package.sources.update(next_due=None)
        Package.objects.using(_ALIAS).update(next_due=None)


_migrated: list[bytes] = []
"""The file of an SQLite database with all tables, once there was one."""


def make_tables() -> None:
    """Make the tables of the site, as `migrate` does. The migrations run once in a process for all files of SQLite."""
    made = connections[_ALIAS]
    if made.vendor != "sqlite":
        call_command("migrate", database=_ALIAS, verbosity=0)
        return
    file = Path(made.settings_dict["NAME"])
    if _migrated:
        file.write_bytes(_migrated[0])
        return
    call_command("migrate", database=_ALIAS, verbosity=0)
    made.cursor().execute("PRAGMA journal_mode=WAL")  # which the site's settings choose, and the file keeps
    made.close()
    _migrated.append(file.read_bytes())


_TOKENS = (
    "GITHUB_TOKEN",
    "GITLAB_TOKEN",
    "BITBUCKET_TOKEN",
    "CODEBERG_TOKEN",
    "GITLAB_SERVERS",
    "GITLAB_SERVER_TOKENS",
)


@contextmanager
def database(url: str) -> Iterator[None]:
    """Let this process read the database of a site, besides its own one for tests."""
    made = dj_database_url.parse(url)
    connections.databases[_ALIAS] = connections.configure_settings({"default": made, _ALIAS: made})[_ALIAS]
    try:
        yield
    finally:
        connections[_ALIAS].close()
        del connections[_ALIAS], connections.databases[_ALIAS]
