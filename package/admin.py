from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminURLFieldWidget
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest

from package.models import Category, Package, PackageExample, SourceStatus, Version
from package.safe_links import is_web_address, link
from package.sources.fields import model_field


class JSONOrDefault(forms.JSONField):
    """A form field for JSON. If it is left empty, its value is the model's default, such as an empty list, not null."""

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        return self.initial() if cleaned is None and callable(self.initial) else cleaned


class AddressInput(AdminURLFieldWidget):
    """Shows the stored address as a link only if it is an http or https address. Django's widget also links to ftp."""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        return {**context, "url_valid": context["url_valid"] and is_web_address(value)}


FIELDS: dict[Any, Any] = {
    models.JSONField: {"form_class": JSONOrDefault},
    models.URLField: {"assume_scheme": "https", "widget": AddressInput},
}


def linked(model: type[models.Model], name: str) -> Callable[[models.Model], str]:
    """Return a column that shows an address with `link`; Django's column for a URLField links to any address."""

    @admin.display(description=model_field(model, name).verbose_name, ordering=name)
    def shown(row: models.Model) -> str:
        return link(getattr(row, name))

    shown.__name__ = name  # Django derives a CSS class from it
    return shown


class LinkingAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """Shows addresses as `linked` columns to users who may view a row but not change it."""

    formfield_overrides = FIELDS

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        addresses = {
            field.name: linked(self.model, field.name)
            for field in self.model._meta.fields  # noqa: SLF001 - documented as API
            if isinstance(field, models.URLField)
        }
        return [
            (title, {**options, "fields": [addresses.get(str(name), name) for name in options["fields"]]})
            for title, options in fieldsets
        ]


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    list_display = ("title", "slug", "show_pypi")
    prepopulated_fields = {"slug": ("title",)}  # noqa: RUF012 - as Django's admin declares it
    search_fields = ("title",)


_FETCHED = frozenset(
    {
        "commit_count",
        "commits_over_52w",
        "date_repo_archived",
        "documentation_url",
        "last_commit_date",
        "latest_version_id",
        "participants",
        "pypi_classifiers",
        "pypi_downloads",
        "pypi_info",
        "pypi_license",
        "pypi_licenses",
        "pypi_missing_since",
        "pypi_requires_python",
        "repo_description",
        "repo_forks",
        "repo_missing_since",
        "repo_watchers",
        "supports_python3",
    }
)
"""Fields whose values are fetched from sources."""


def _differs(package: Package) -> bool:
    """Return whether fetched fields of `package`, as a form has set them, differ from the stored values."""
    stored = Package.objects.get(pk=package.pk)
    return any(_shown(getattr(package, name)) != _shown(getattr(stored, name)) for name in _FETCHED)


def _shown(value: Any) -> Any:
    """Return `value` as a form shows it."""
    return value.replace(microsecond=0) if isinstance(value, datetime) else value


class SourceStatusInline(admin.TabularInline):  # type: ignore[type-arg]  # not subscriptable at run time
    """Shows how old each part of a package's data is, and the error of its last fetch."""

    model = SourceStatus
    verbose_name_plural = "sources of the data, and its age"
    fields = readonly_fields = ("source", "part", "in_words", "last_success", "last_attempt", "failures", "next_due")
    ordering = ("source", "part")
    extra = 0
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[SourceStatus]:
        return super().get_queryset(request).select_related("package")

    def has_add_permission(self, *_: Any) -> bool:
        return False

    @admin.display(description="state")
    def in_words(self, row: SourceStatus) -> str:
        return row.in_words


@admin.register(Package)
class PackageAdmin(LinkingAdmin):
    list_display = ("title", "category", "latest_version", "last_fetched", "last_exception_count", "last_exception")
    list_filter = ("category", "supports_python3", "repo_host")
    inlines = (SourceStatusInline,)
    actions = ("fetch_next",)
    list_select_related = ("category", "latest_version__package")
    prepopulated_fields = {"slug": ("title",)}  # noqa: RUF012 - as above
    raw_id_fields = ("latest_version",)
    readonly_fields = ("last_fetched", "last_exception", "last_exception_at", "last_exception_count")
    search_fields = ("title", "slug", "pypi_url", "repo_url")

    def save_model(self, request: HttpRequest, obj: Package, form: Any, change: bool) -> None:
        if {"repo_url", "repo_host", "pypi_url"} & set(form.changed_data):
            obj.next_due = None  # the fetched data belongs to the old address
            if change:
                obj.sources.update(next_due=None)
        if change and _differs(obj):
            # The fields were edited by hand, or changed by a fetch while the form was open. In both cases, fetch again.
            obj.next_due = None
            obj.sources.update(next_due=None, validators={})
        super().save_model(request, obj, form, change)

    @admin.action(description="Fetch everything anew with the next run")
    def fetch_next(self, request: HttpRequest, packages: QuerySet[Package]) -> None:
        """Make all parts due, and delete their validators, so that fields emptied by hand are fetched again."""
        SourceStatus.objects.filter(package__in=packages).update(next_due=None, validators={})
        count = packages.update(next_due=None)
        self.message_user(request, f"{count} packages are due now.")


@admin.register(Version)
class VersionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    list_display = ("package", "number", "upload_time", "license", "development_status", "supports_python3", "hidden")
    list_filter = ("development_status", "supports_python3", "hidden")
    list_select_related = ("package",)
    formfield_overrides = FIELDS
    raw_id_fields = ("package",)
    search_fields = ("package__title", "number")


@admin.register(SourceStatus)
class SourceStatusAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """The source statuses, read-only, with filters for source and outcome."""

    list_display = ("package", "source", "part", "in_words", "http_status", "failures", "next_due")
    list_filter = ("source", "part", "outcome", "reason")
    list_select_related = ("package",)
    search_fields = ("package__title", "package__slug")
    ordering = ("-failures", "package")

    def has_add_permission(self, *_: Any) -> bool:
        return False

    def has_change_permission(self, *_: Any) -> bool:
        return False


@admin.register(PackageExample)
class PackageExampleAdmin(LinkingAdmin):
    list_display = (
        "title",
        "package",
        linked(PackageExample, "url"),
        "active",
        "failures",
        "last_checked",
        "last_result",
    )
    list_filter = ("active",)
    list_select_related = ("package",)
    raw_id_fields = ("package",)
    readonly_fields = ("failures", "last_checked", "last_result")
    search_fields = ("title", "url", "package__title")
