"""The admin of packages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.db import models
from django.forms import BaseForm, CheckboxInput
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from package.jobs.due import due
from package.jobs.run import run
from package.jobs.stopper import Stopper
from package.models import Category, Package, PackageExample, SourceStatus, Version
from tests.package.conftest import CannedPyPI, MakePackage

# Django 5.2 warns wherever a form has a URL field; a test below checks how our form handles it.
pytestmark = pytest.mark.filterwarnings("ignore:The default scheme will be changed")
MODELS = [Category, Package, PackageExample, SourceStatus, Version]
EDITED = [Category, Package, PackageExample, Version]


@pytest.fixture
def fetched(package: Package, pypi: CannedPyPI) -> Package:
    """Make a package that was refreshed, with an example."""
    pypi.knows("fortune")
    package.fetch_metadata()
    PackageExample.objects.create(package=package, title="A site", url="https://example.org/")
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
        assert admin_client.get(address(model, "change", a(model).pk)).status_code == 200

    @pytest.mark.parametrize("page", ["add", "history", "delete"])
    def test_others(self, admin_client: Client, model: type[models.Model], page: str) -> None:
        """The other pages of a row open too; source statuses have no page to add rows."""
        args = [] if page == "add" else [a(model).pk]
        status = 403 if (model, page) == (SourceStatus, "add") else 200
        assert admin_client.get(address(model, page, *args)).status_code == status

    def test_saving_an_unchanged_form_changes_nothing(self, admin_client: Client, model: type[models.Model]) -> None:
        """Saving an unchanged form changes neither the row nor the source statuses, which are read-only."""
        row, ledger = a(model), list(SourceStatus.objects.values())
        response = admin_client.post(address(model, "change", row.pk), form_of(admin_client, model, row))
        if model in EDITED:
            assert response.status_code == 302, response.context["adminform"].errors
        else:
            assert response.status_code == 403
        saved = model._default_manager.get(pk=row.pk)
        names = [field.attname for field in model._meta.concrete_fields if field.name != "modified"]
        assert {name: getattr(saved, name) for name in names} == {name: getattr(row, name) for name in names}
        assert list(SourceStatus.objects.values()) == ledger

    def test_is_for_staff(self, client: Client, model: type[models.Model]) -> None:
        """Other users are refused."""
        assert client.get(address(model, "changelist")).status_code == 302


def a(model: type[models.Model]) -> models.Model:
    row = model._default_manager.first()
    assert row
    return row


def form_of(client: Client, model: type[models.Model], row: models.Model) -> dict[str, Any]:
    """Return the data that a browser sends for an unchanged form."""
    context = client.get(address(model, "change", row.pk)).context
    data: dict[str, Any] = {}
    for form in forms_of(context):
        for name in form.fields:
            bound = form[name]
            value = bound.field.widget.format_value(bound.value())
            if hasattr(bound.field.widget, "decompress"):
                for index, part in enumerate(bound.field.widget.decompress(bound.value())):
                    data[f"{bound.html_name}_{index}"] = "" if part is None else str(part)
            elif isinstance(bound.field.widget, CheckboxInput):
                data.update({bound.html_name: "on"} if bound.value() else {})
            else:
                data[bound.html_name] = value[0] if isinstance(value, list) else "" if value is None else value
    return data


def forms_of(context: Any) -> Iterable[BaseForm]:
    yield context["adminform"].form
    for inline in context["inline_admin_formsets"]:
        yield inline.formset.management_form
        yield from inline.formset.forms


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
    """The list of packages takes as many queries for thirty as for one; so do the others."""
    for number in range(30):
        copy = Package.objects.create(title=str(number), slug=f"p{number}", category=fetched.category)
        copy.latest_version = Version.objects.create(package=copy, number="1.0")
        copy.save()
        SourceStatus.objects.create(package=copy, source="pypi")
        PackageExample.objects.create(package=copy, title="x", url="https://example.org/")
    for model in (Package, Version, SourceStatus, PackageExample):
        with django_assert_max_num_queries(12):
            admin_client.get(address(model, "changelist"))


def test_a_form_does_not_ask_for_each_part(
    admin_client: Client, fetched: Package, django_assert_max_num_queries: Any
) -> None:
    """The form of a package shows all of its source statuses."""
    SourceStatus.objects.bulk_create(SourceStatus(package=fetched, source="x", part=str(n)) for n in range(20))
    with django_assert_max_num_queries(15):
        assert admin_client.get(address(Package, "change", fetched.pk)).status_code == 200


def test_how_fetching_goes_is_not_to_be_edited(admin_client: Client, fetched: Package) -> None:
    """The fields that the update job writes are read-only."""
    form = admin_client.get(address(Package, "change", fetched.pk)).context["adminform"].form
    noted = {"last_fetched", "last_exception", "last_exception_at", "last_exception_count", "next_due"}
    assert not noted & set(form.fields)


@pytest.mark.parametrize("model", [Package, SourceStatus])
def test_how_fetching_goes_is_shown(
    admin_client: Client, fetched: Package, pypi: CannedPyPI, model: type[models.Model]
) -> None:
    """The package's form and the list of source statuses show how old the data is, and its errors."""
    pypi.answers("fortune", 503)
    fetched.fetch_metadata()
    page = address(Package, "change", fetched.pk) if model is Package else address(SourceStatus, "changelist")
    text = admin_client.get(page).text
    assert "pypi data from 0\xa0minutes ago: PyPI answered HTTP 503" in text
    assert "pypistats data from 0\xa0minutes ago" in text


@pytest.mark.parametrize("field", ["documentation_url", "repo_url"])
def test_an_address_without_scheme_is_taken_for_https(admin_client: Client, fetched: Package, field: str) -> None:
    """Typed addresses mean the same on every Django that the site runs on."""
    data = {**form_of(admin_client, Package, fetched), field: "example.org/docs"}
    assert admin_client.post(address(Package, "change", fetched.pk), data).status_code == 302
    assert getattr(Package.objects.get(), field) == "https://example.org/docs"


class TestWhatIsDue:
    """How edits in the admin change when a package is due."""

    @pytest.fixture
    def fetched(self, fetched: Package, pypi: CannedPyPI) -> Package:
        """Return a package that PyPI does not have: its project is not due for days, its downloads are due."""
        later = timezone.now() + timedelta(days=20)
        SourceStatus.objects.filter(source="pypi").update(next_due=later, outcome="not found", validators={"x": 1})
        SourceStatus.objects.filter(source="pypistats").update(next_due=timezone.now() - timedelta(hours=1))
        Package.objects.update(next_due=later)
        pypi.knows("cookie")
        pypi.mock.calls.reset()
        return Package.objects.get()

    @staticmethod
    def run(pypi: CannedPyPI) -> list[str]:
        """Run over the packages that are due; return the requests to PyPI."""
        run(list(due().values_list("pk", flat=True)), Stopper(), lambda *_: None)
        return pypi.asked

    def test_an_address_that_was_corrected_is_fetched_with_the_next_run(
        self, admin_client: Client, fetched: Package, pypi: CannedPyPI
    ) -> None:
        """After a corrected address, all parts are due, because the source statuses were about the old one."""
        data = {**form_of(admin_client, Package, fetched), "pypi_url": "cookie"}
        assert admin_client.post(address(Package, "change", fetched.pk), data).status_code == 302
        assert self.run(pypi) == ["cookie"]

    def test_a_package_that_was_added_is_fetched_with_the_next_run(
        self, admin_client: Client, fetched: Package, pypi: CannedPyPI
    ) -> None:
        """A new package is due at once."""
        data = form_of(admin_client, Package, fetched)
        inline = {name: "0" for name in data if name.startswith("sources-")}
        data |= {"title": "Cookie", "slug": "cookie", "pypi_url": "cookie", "latest_version": "", **inline}
        assert admin_client.post(address(Package, "add"), data).status_code == 302
        assert self.run(pypi) == ["cookie"]

    def test_an_edit_of_something_else_changes_nothing_about_that(
        self, admin_client: Client, fetched: Package, pypi: CannedPyPI
    ) -> None:
        """A corrected title does not make a package due."""
        data = {**form_of(admin_client, Package, fetched), "title": "Edited"}
        assert admin_client.post(address(Package, "change", fetched.pk), data).status_code == 302
        assert self.run(pypi) == []

    def test_a_package_can_be_fetched_anew(
        self, admin_client: Client, fetched: Package, make_package: MakePackage, pypi: CannedPyPI
    ) -> None:
        """The action "Fetch everything anew" fetches without validators, so emptied fields are filled again."""
        later = timezone.now() + timedelta(days=20)
        make_package("other", next_due=later)
        data = {"action": "fetch_next", "_selected_action": [fetched.pk]}
        response = admin_client.post(address(Package, "changelist"), data, follow=True)
        assert "1 packages are due now" in response.text
        assert list(SourceStatus.objects.values_list("validators", flat=True)) == [{}, {}]
        assert self.run(pypi) == ["fortune"]


def test_data_that_an_old_form_overwrites_is_fetched_again(
    admin_client: Client, fetched: Package, pypi: CannedPyPI
) -> None:
    """An old form overwrites data that was fetched while it was open; the next run fetches it again."""
    data = form_of(admin_client, Package, fetched)
    Package.objects.update(repo_watchers=77)
    assert admin_client.post(address(Package, "change", fetched.pk), data).status_code == 302
    assert Package.objects.get().next_due is None
    assert set(SourceStatus.objects.values_list("next_due", flat=True)) == {None}
    assert [row.validators for row in SourceStatus.objects.all()] == [{}, {}]
