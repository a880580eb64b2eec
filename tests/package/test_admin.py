"""The admin, as the people use it who look after the packages."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models
from django.forms import CheckboxInput
from django.test import Client
from django.urls import reverse

from package.models import Category, Package, Version
from tests.package.conftest import CannedPyPI

# Django 5.2 says so wherever a form has an address; what our form does about it has a test of its own below.
pytestmark = pytest.mark.filterwarnings("ignore:The default scheme will be changed")
MODELS = [Category, Package, Version]


@pytest.fixture
def fetched(package: Package, pypi: CannedPyPI) -> Package:
    pypi.knows("fortune")
    package.fetch_metadata()
    return package


def address(model: type[models.Model], page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.mark.usefixtures("fetched")
@pytest.mark.parametrize("model", MODELS)
class TestPages:
    """Every page of every model."""

    def test_list(self, admin_client: Client, model: type[models.Model]) -> None:
        """The list shows its rows."""
        response = admin_client.get(address(model, "changelist"))
        assert response.status_code == 200
        assert "1 " in response.text

    @pytest.mark.parametrize("query", ["fortune", "app", "2.1", "nothing like it", "%", "'"])
    def test_search(self, admin_client: Client, model: type[models.Model], query: str) -> None:
        """The search takes any text."""
        assert admin_client.get(address(model, "changelist"), {"q": query}).status_code == 200

    def test_change(self, admin_client: Client, model: type[models.Model]) -> None:
        """The form of a row opens."""
        row = model._default_manager.get()
        assert admin_client.get(address(model, "change", row.pk)).status_code == 200

    @pytest.mark.parametrize("page", ["add", "history", "delete"])
    def test_others(self, admin_client: Client, model: type[models.Model], page: str) -> None:
        """So do the pages around it."""
        args = [] if page == "add" else [model._default_manager.get().pk]
        assert admin_client.get(address(model, page, *args)).status_code == 200

    def test_saving_a_form_as_it_is_changes_nothing(self, admin_client: Client, model: type[models.Model]) -> None:
        """Whoever opens a row and saves it has not edited it."""
        row = model._default_manager.get()
        response = admin_client.post(address(model, "change", row.pk), form_of(admin_client, model, row))
        assert response.status_code == 302, response.context["adminform"].errors
        saved = model._default_manager.get()
        names = [field.attname for field in model._meta.concrete_fields if field.name != "modified"]
        assert {name: getattr(saved, name) for name in names} == {name: getattr(row, name) for name in names}

    def test_is_for_staff(self, client: Client, model: type[models.Model]) -> None:
        """Nobody else gets in."""
        assert client.get(address(model, "changelist")).status_code == 302


def form_of(client: Client, model: type[models.Model], row: models.Model) -> dict[str, Any]:
    """Return what a browser would send if nothing was typed."""
    form = client.get(address(model, "change", row.pk)).context["adminform"].form
    data: dict[str, Any] = {}
    for name in form.fields:
        bound = form[name]
        value = bound.field.widget.format_value(bound.value())
        if hasattr(bound.field.widget, "decompress"):
            for index, part in enumerate(bound.field.widget.decompress(bound.value())):
                data[f"{name}_{index}"] = "" if part is None else str(part)
        elif isinstance(bound.field.widget, CheckboxInput):
            data.update({name: "on"} if bound.value() else {})
        else:
            data[name] = value[0] if isinstance(value, list) else "" if value is None else value
    return data


def test_lists_can_be_emptied(admin_client: Client, fetched: Package, client: Client) -> None:
    """A list whose field was cleared in the form is an empty list, and the package's page shows none."""
    data = form_of(admin_client, Package, fetched)
    data.update({"pypi_classifiers": "", "pypi_licenses": "", "pypi_info": ""})
    assert admin_client.post(address(Package, "change", fetched.pk), data).status_code == 302
    saved = Package.objects.get()
    assert (saved.pypi_classifiers, saved.pypi_licenses, saved.pypi_info) == ([], [], {})
    assert client.get(saved.get_absolute_url()).status_code == 200


def test_lists_do_not_ask_for_each_row(
    admin_client: Client, fetched: Package, pypi: CannedPyPI, django_assert_max_num_queries: Any
) -> None:
    """The list of packages takes as many queries for thirty as for one."""
    for number in range(30):
        copy = Package.objects.create(title=str(number), slug=f"p{number}", category=fetched.category)
        copy.latest_version = Version.objects.create(package=copy, number="1.0")
        copy.save()
    for model in (Package, Version):
        with django_assert_max_num_queries(12):
            admin_client.get(address(model, "changelist"))


def test_how_fetching_goes_is_not_to_be_edited(admin_client: Client, fetched: Package) -> None:
    """What the updater notes, people only read."""
    form = admin_client.get(address(Package, "change", fetched.pk)).context["adminform"].form
    assert not {"last_fetched", "last_exception", "last_exception_at", "last_exception_count"} & set(form.fields)


@pytest.mark.parametrize("field", ["documentation_url", "repo_url"])
def test_an_address_without_scheme_is_taken_for_https(admin_client: Client, fetched: Package, field: str) -> None:
    """Typed addresses mean the same on every Django that the site runs on."""
    data = {**form_of(admin_client, Package, fetched), field: "example.org/docs"}
    assert admin_client.post(address(Package, "change", fetched.pk), data).status_code == 302
    assert getattr(Package.objects.get(), field) == "https://example.org/docs"
