"""load_sample adds sample packages."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from package.models import Category, Package
from tests.package.conftest import CannedPyPI, MakePackage

pytestmark = pytest.mark.django_db


def load(capsys: pytest.CaptureFixture[str]) -> str:
    call_command("load_sample")
    return capsys.readouterr().out


def test_adds_well_known_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """About ten packages, each with a category and a name on PyPI."""
    assert "added" in load(capsys)
    assert 8 <= Package.objects.count() <= 15
    for package in Package.objects.select_related("category"):
        assert package.pypi_name
        assert package.category.title


def test_may_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    """`make run` loads the sample each time; each package still exists once."""
    load(capsys)
    before = Package.objects.count(), Category.objects.count()
    assert load(capsys) == "0 sample records added.\n"
    assert (Package.objects.count(), Category.objects.count()) == before


def test_leaves_what_was_refreshed(capsys: pytest.CaptureFixture[str], pypi: CannedPyPI) -> None:
    """Loading the sample again does not overwrite fetched data."""
    load(capsys)
    package = Package.objects.get(slug="django")
    pypi.knows("Django")
    package.fetch_metadata()
    Package.objects.filter(pk=package.pk).update(score=5, title="Edited")
    load(capsys)
    package.refresh_from_db()
    assert (package.pypi_license, package.score, package.title) == ("MIT", 5, "Edited")
    assert package.latest_version


def test_leaves_other_packages(capsys: pytest.CaptureFixture[str], make_package: MakePackage) -> None:
    """Existing packages and categories stay."""
    own = [make_package(slug) for slug in ("mine", "yours")]
    Category.objects.create(title="Mine", slug="mine")
    load(capsys)
    for package in own:
        kept = Package.objects.get(pk=package.pk)
        assert (kept.slug, kept.category) == (package.slug, package.category)
    assert Category.objects.filter(slug="mine").exists()


def test_finds_categories_by_slug(capsys: pytest.CaptureFixture[str]) -> None:
    """An existing category is found by its slug, with any primary key."""
    Category.objects.create(title="Other", slug="other")
    framework = Category.objects.create(pk=77, title="Framework", slug="framework")
    load(capsys)
    assert Package.objects.get(slug="django").category == framework


@pytest.mark.django_db(transaction=True, reset_sequences=True)
def test_leaves_room_for_new_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """After the sample, people can add categories and packages of their own."""
    load(capsys)
    before = {model: set(model.objects.values_list("pk", "slug")) for model in (Category, Package)}
    category = Category.objects.create(title="New", slug="new")
    package = Package.objects.create(title="New", slug="new", category=category)
    for added in (category, package):
        rows = before[type(added)]
        assert rows
        assert set(type(added).objects.values_list("pk", "slug")) == rows | {(added.pk, "new")}
        assert added.pk not in dict(rows)
