"""The models of the site. Fields that djangopackages.org has too have the same names and meanings there."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils.module_loading import import_string
from django.utils.timesince import timesince

from core.utils import PackageStatus
from package.sources.fetch_results import FetchResult
from package.sources.pypi_names import pypi_name


class TimestampedModel(models.Model):
    created = models.DateTimeField(auto_now_add=True)
    modified = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class CategoryManager(models.Manager["Category"]):
    def get_by_natural_key(self, slug: str) -> Category:
        """Return the category that a fixture refers to by its slug."""
        return self.get(slug=slug)


class Category(TimestampedModel):
    title = models.CharField(max_length=50)
    slug = models.SlugField(unique=True)
    description = models.TextField(blank=True)
    title_plural = models.CharField(max_length=50, blank=True)
    show_pypi = models.BooleanField("show PyPI statistics and version", default=True)

    objects = CategoryManager()

    class Meta:
        ordering = ("title",)
        verbose_name_plural = "categories"

    def __str__(self) -> str:
        return self.title


class Package(TimestampedModel):
    title = models.CharField(max_length=100)
    slug = models.SlugField(unique=True)
    category = models.ForeignKey(Category, models.PROTECT)

    # repository
    repo_url = models.URLField("repository URL", max_length=500, blank=True)
    repo_host = models.CharField("repository host", max_length=100, blank=True)
    repo_description = models.TextField("description", blank=True)
    repo_watchers = models.IntegerField("stars", default=0)
    repo_forks = models.IntegerField("forks", default=0)
    participants = models.TextField(blank=True, help_text="Separated by commas.")
    commits_over_52w = models.JSONField("commits in each of the last 52 weeks", default=list, blank=True)
    last_commit_date = models.DateTimeField(null=True, blank=True)
    commit_count = models.IntegerField("commits", default=0)
    date_repo_archived = models.DateTimeField("repository archived", null=True, blank=True)
    repo_missing_since = models.DateTimeField("repository gone since", null=True, blank=True)

    # PyPI
    pypi_url = models.CharField("PyPI name or URL", max_length=255, blank=True)
    pypi_missing_since = models.DateTimeField("not on PyPI since", null=True, blank=True)
    pypi_downloads = models.BigIntegerField("PyPI downloads", default=0)
    pypi_classifiers = models.JSONField("PyPI classifiers", default=list, blank=True)
    pypi_info = models.JSONField("PyPI metadata", default=dict, blank=True)
    pypi_license = models.CharField("PyPI license", max_length=2000, blank=True)
    pypi_licenses = models.JSONField("PyPI licenses", default=list, blank=True)
    pypi_requires_python = models.CharField("PyPI requires Python", max_length=1000, blank=True)
    supports_python3 = models.BooleanField("supports Python 3", null=True, blank=True)
    documentation_url = models.URLField("documentation URL", max_length=500, blank=True)
    latest_version = models.ForeignKey("Version", models.SET_NULL, null=True, blank=True, related_name="+")

    # state of the fetches
    next_due = models.DateTimeField(
        null=True, blank=True, db_index=True, editable=False, help_text="When the first of its parts is due."
    )
    last_fetched = models.DateTimeField(null=True, blank=True, db_index=True)
    last_exception = models.TextField(blank=True)
    last_exception_at = models.DateTimeField(null=True, blank=True)
    last_exception_count = models.IntegerField("failures in a row", default=0)

    date_deprecated = models.DateTimeField(null=True, blank=True)
    score = models.IntegerField(default=0)

    class Meta:
        ordering = ("title",)

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("package", args=[self.slug])

    @property
    def pypi_name(self) -> str:
        """The name of the project on PyPI, read from `pypi_url`; "": `pypi_url` contains no name."""
        return pypi_name(self.pypi_url, urlsplit(settings.PYPI_URL).hostname)

    def fetch_metadata(self) -> list[FetchResult]:
        """Refresh this package from all its sources, even if one of them fails. Returns the results."""
        # Imported by name, because the module imports the models.
        refresh_one: Callable[[Package], list[FetchResult]] = import_string("package.jobs.refresh_one.refresh_one")
        return refresh_one(self)


class Version(TimestampedModel):
    package = models.ForeignKey(Package, models.CASCADE)
    number = models.CharField(max_length=255)
    license = models.CharField(max_length=2000, blank=True)
    licenses = models.JSONField(default=list, blank=True)
    upload_time = models.DateTimeField("uploaded to PyPI", null=True, blank=True)
    development_status = models.IntegerField(choices=PackageStatus.choices, default=PackageStatus.UNKNOWN)
    supports_python3 = models.BooleanField("supports Python 3", default=False)
    hidden = models.BooleanField(default=False)
    downloads = models.BigIntegerField(default=0)

    class Meta:
        get_latest_by = "upload_time"
        ordering = ("-upload_time",)
        constraints = (models.UniqueConstraint(fields=("package", "number"), name="unique_version_of_package"),)

    def __str__(self) -> str:
        return f"{self.package}: {self.number}"


class SourceStatus(models.Model):
    """The last fetch of one part of a package from one source, and when the part is due again."""

    package = models.ForeignKey(Package, models.CASCADE, related_name="sources")
    source = models.CharField(max_length=50)
    part = models.CharField(max_length=20, blank=True)
    outcome = models.CharField(max_length=20, blank=True)
    reason = models.CharField(max_length=30, blank=True, help_text="A key word, as in the metrics.")
    error = models.TextField(blank=True)
    http_status = models.PositiveSmallIntegerField("HTTP status", null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Of the last fetch.")
    seconds = models.FloatField(default=0, help_text="Of the last fetch, backoff included.")
    failures = models.PositiveIntegerField("failures in a row", default=0)
    last_attempt = models.DateTimeField(null=True, blank=True)
    last_success = models.DateTimeField(null=True, blank=True)
    next_due = models.DateTimeField(null=True, blank=True)
    validators = models.JSONField(default=dict, blank=True, help_text="For conditional requests.")
    memory = models.JSONField(default=dict, blank=True, help_text="Data that a source keeps for its next fetch.")

    class Meta:
        ordering = ("package", "source", "part")
        verbose_name_plural = "source statuses"
        indexes = (models.Index(fields=("source", "outcome")),)
        constraints = (models.UniqueConstraint(fields=("package", "source", "part"), name="unique_part_of_package"),)

    def __str__(self) -> str:
        return f"{self.package}: {self.source} {self.part}".rstrip()

    @property
    def name(self) -> str:
        """The source and the part, as text for people."""
        return f"{self.source} {self.part}".rstrip()

    @property
    def in_words(self) -> str:
        """The age of the data, and the error of the last fetch, if it failed."""
        if self.last_success is None:
            age = f"no {self.name} data yet"
        else:
            age = f"{self.name} data from {timesince(self.last_success, depth=1)} ago"
        return f"{age}: {self.error}" if self.error else age


class Claim(models.Model):
    """The work on one source of a package.

    A row with an `owner` is a claim: that run or task fetches the source. A row with `queued` is a ticket: the source
    is queued for a Celery worker. A row is both while a worker fetches the source.
    """

    package = models.ForeignKey(Package, models.CASCADE, related_name="claims", db_constraint=False)
    source = models.CharField(max_length=50)
    owner = models.CharField(max_length=32, blank=True, help_text="The run or task that has it; empty while queued.")
    until = models.DateTimeField(null=True, blank=True, db_index=True, help_text="End of the lease.")
    queued = models.DateTimeField(null=True, blank=True, help_text="When it was queued for a Celery worker.")
    sent = models.DateTimeField(null=True, blank=True, help_text="When its last message is delivered.")
    everything = models.BooleanField(default=False, help_text="Fetch all parts, due or not.")
    deaths = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often in a row the process of its owner died during the fetch."
    )

    class Meta:
        ordering = ("package_id", "source")  # "package" would join the packages, and omit claims of deleted packages
        constraints = (models.UniqueConstraint(fields=("package", "source"), name="unique_claim"),)

    def __str__(self) -> str:
        return f"{self.package_id}: {self.source}"


class PackageExample(TimestampedModel):
    """A page that shows a package in use. Users submit its address."""

    package = models.ForeignKey(Package, models.CASCADE, related_name="examples")
    title = models.CharField(max_length=100)
    url = models.URLField("URL")
    active = models.BooleanField(default=True, help_text="Shown on the package's page.")
    failures = models.PositiveSmallIntegerField(
        "permanent failures in a row", default=0, help_text="Counts only answers that the page is gone."
    )
    last_checked = models.DateTimeField(null=True, blank=True)
    last_result = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("title",)

    def __str__(self) -> str:
        return self.title
