from typing import Any

from django import forms
from django.contrib import admin
from django.db import models

from package.models import Category, Package, Version


class JSONOrDefault(forms.JSONField):
    """Takes an emptied field for the empty list or object that the model begins with."""

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        return self.initial() if cleaned is None and callable(self.initial) else cleaned


FIELDS: dict[Any, Any] = {models.JSONField: {"form_class": JSONOrDefault}, models.URLField: {"assume_scheme": "https"}}


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    list_display = ("title", "slug", "show_pypi")
    prepopulated_fields = {"slug": ("title",)}  # noqa: RUF012 - as Django's admin declares it
    search_fields = ("title",)


@admin.register(Package)
class PackageAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    list_display = ("title", "category", "latest_version", "last_fetched", "last_exception_count", "last_exception")
    list_filter = ("category", "supports_python3")
    list_select_related = ("category", "latest_version__package")
    prepopulated_fields = {"slug": ("title",)}  # noqa: RUF012 - as above
    formfield_overrides = FIELDS
    raw_id_fields = ("latest_version",)
    readonly_fields = ("last_fetched", "last_exception", "last_exception_at", "last_exception_count")
    search_fields = ("title", "slug", "pypi_url", "repo_url")


@admin.register(Version)
class VersionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    list_display = ("package", "number", "upload_time", "license", "development_status", "supports_python3", "hidden")
    list_filter = ("development_status", "supports_python3", "hidden")
    list_select_related = ("package",)
    formfield_overrides = FIELDS
    raw_id_fields = ("package",)
    search_fields = ("package__title", "number")
