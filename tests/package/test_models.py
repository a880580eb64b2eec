"""The models behave the same on every database."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, models, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from package.models import Category, Package, PackageExample, SourceStatus, Version
from tests.package.conftest import MakePackage

FIELDS = {
    Category: "title slug description title_plural show_pypi created modified",
    Package: "title slug category repo_url repo_host repo_description repo_watchers repo_forks participants "
    "commits_over_52w last_commit_date commit_count date_repo_archived pypi_url pypi_downloads pypi_classifiers "
    "pypi_info pypi_license pypi_licenses pypi_requires_python supports_python3 documentation_url latest_version "
    "last_fetched last_exception last_exception_at last_exception_count date_deprecated score created modified",
    Version: "package number license licenses upload_time development_status supports_python3 hidden downloads "
    "created modified",
    PackageExample: "package title url active created modified",
}
LIST_FIELDS = [
    (Package, "pypi_classifiers"),
    (Package, "pypi_licenses"),
    (Package, "commits_over_52w"),
    (Version, "licenses"),
]


@pytest.mark.parametrize("model", FIELDS)
def test_fields_have_the_names_that_djangopackages_uses(model: type[models.Model]) -> None:
    """Queries and templates of djangopackages find every field under its name."""
    assert set(FIELDS[model].split()) <= {field.name for field in model._meta.get_fields()}


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    """The database that `migrate` makes is the one that the models describe."""
    call_command("makemigrations", check=True, dry_run=True, stdout=StringIO())


@pytest.fixture
def rows(make_package: MakePackage) -> dict[type[models.Model], Any]:
    package = make_package("fortune")
    return {Package: package, Version: Version.objects.create(package=package, number="1.0")}


@pytest.mark.parametrize(("model", "field"), LIST_FIELDS)
class TestListFields:
    """Lists are lists, on SQLite and PostgreSQL alike."""

    @pytest.mark.parametrize(
        "value",
        [[], ["MIT"], ["b", "a", "b"], ["ü 漢 \U0001f40d", 'quo"te', "back\\slash", "a,b"], [1, 2, 0], ["x" * 9999]],
    )
    def test_come_back_as_they_were(
        self, rows: dict[type[models.Model], Any], model: type[models.Model], field: str, value: list[Any]
    ) -> None:
        """Order, duplicates and every letter survive."""
        setattr(rows[model], field, value)
        rows[model].save()
        rows[model].refresh_from_db()
        assert getattr(rows[model], field) == value
        assert model._default_manager.filter(**{field: value}).exists()

    def test_are_empty_at_first(
        self, rows: dict[type[models.Model], Any], model: type[models.Model], field: str
    ) -> None:
        """A new row has an empty list, and one of its own."""
        getattr(rows[model], field).append("x")
        assert getattr(model(), field) == []


def test_info_is_stored_unchanged(make_package: MakePackage) -> None:
    """PyPI's metadata is stored unchanged."""
    info = {"a": None, "b": [1, 2.5, True, {"ü": "\u2028"}], "": 2**60}
    package = make_package("fortune", pypi_info=info)
    package.refresh_from_db()
    assert package.pypi_info == info


def test_a_version_is_there_once(make_package: MakePackage) -> None:
    """A package has each of its versions once."""
    package = make_package("fortune")
    Version.objects.create(package=package, number="1.0")
    with pytest.raises(IntegrityError), transaction.atomic():
        Version.objects.create(package=package, number="1.0")
    Version.objects.create(package=make_package("other"), number="1.0")


def test_a_part_is_in_the_ledger_once(make_package: MakePackage) -> None:
    """Two runs at the same time cannot create two rows for a part."""
    package = make_package("fortune")
    SourceStatus.objects.create(package=package, source="pypi")
    SourceStatus.objects.create(package=package, source="pypi", part="x")
    SourceStatus.objects.create(package=make_package("other"), source="pypi")
    with pytest.raises(IntegrityError), transaction.atomic():
        SourceStatus.objects.create(package=package, source="pypi")


@pytest.mark.parametrize("model", [Package, Category])
def test_slugs_are_there_once(make_package: MakePackage, category: Category, model: type[models.Model]) -> None:
    """A slug leads to one page."""
    make_package("app")
    fields = {"category": category} if model is Package else {}
    with pytest.raises(IntegrityError), transaction.atomic():
        model._default_manager.create(title="Another", slug="app", **fields)


def test_deleting_the_latest_version_keeps_the_package(make_package: MakePackage) -> None:
    """A package without a latest version is still a package."""
    package = make_package("fortune")
    package.latest_version = Version.objects.create(package=package, number="1.0")
    package.save()
    package.latest_version.delete()
    assert Package.objects.get().latest_version is None


def test_a_category_in_use_stays(make_package: MakePackage, category: Category) -> None:
    """Deleting a category cannot take its packages along."""
    make_package("fortune")
    with pytest.raises(ProtectedError):
        category.delete()


def test_deleting_a_package_deletes_its_rows(make_package: MakePackage) -> None:
    """Deleting a package deletes its versions, source statuses and examples, although it refers to a version."""
    package = make_package("fortune")
    package.latest_version = Version.objects.create(package=package, number="1.0")
    package.save()
    SourceStatus.objects.create(package=package, source="pypi")
    PackageExample.objects.create(package=package, title="x", url="https://example.org/")
    package.delete()
    for model in (Version, SourceStatus, PackageExample):
        assert not model._default_manager.exists()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("", ""),
        ("fortune", "fortune"),
        ("https://pypi.org/project/fortune/", "fortune"),
        ("https://pypi.test/project/fortune/", "fortune"),
        ("https://github.com/x/fortune", ""),
    ],
)
def test_pypi_name(url: str, name: str) -> None:
    """The name is read from any form of the field; URLs below the PyPI of the settings are recognized too."""
    assert Package(pypi_url=url).pypi_name == name


def test_names_of_rows(make_package: MakePackage, category: Category) -> None:
    """In the admin everything is called by its title."""
    package = make_package("fortune")
    assert str(category) == "App"
    assert str(package) == "Fortune"
    assert str(Version(package=package, number="1.0")) == "Fortune: 1.0"
    assert str(SourceStatus(package=package, source="pypi")) == "Fortune: pypi"
    assert str(SourceStatus(package=package, source="github", part="commits")) == "Fortune: github commits"
    assert str(PackageExample(package=package, title="A site")) == "A site"
    assert package.get_absolute_url() == "/packages/p/fortune/"


@pytest.mark.parametrize(
    ("hours", "error", "words"),
    [
        (None, "", "no github commits data yet"),
        (None, "GitHub answered HTTP 503", "no github commits data yet: GitHub answered HTTP 503"),
        (50, "", "github commits data from 2\xa0days ago"),
        (50, "GitHub answered HTTP 503", "github commits data from 2\xa0days ago: GitHub answered HTTP 503"),
    ],
)
def test_the_ledger_in_words(hours: int | None, error: str, words: str) -> None:
    """`in_words` says how old the data of a part is, and the error, if there is one."""
    fetched = None if hours is None else timezone.now() - timedelta(hours=hours)
    assert SourceStatus(source="github", part="commits", last_success=fetched, error=error).in_words == words


def test_the_newest_version_comes_first(make_package: MakePackage) -> None:
    """Versions are in the order of their upload, latest() is the last one."""
    package = make_package("fortune")
    for number, day in (("1.0", 1), ("3.0", 3), ("2.0", 2)):
        Version.objects.create(package=package, number=number, upload_time=f"2026-01-0{day}T00:00:00Z")
    assert [version.number for version in Version.objects.all()] == ["3.0", "2.0", "1.0"]
    assert Version.objects.latest().number == "3.0"
