from django.contrib import admin
from django.urls import include, path

from core.http.django.admin import upstreams

urlpatterns = [
    path("admin/upstreams/", upstreams, name="upstreams"),  # before "admin/", which matches this path too
    path("admin/", admin.site.urls),
    path("", include("package.urls")),
]
