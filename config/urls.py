from django.contrib import admin
from django.urls import include, path

from core.http.django.admin import upstreams

urlpatterns = [
    path("admin/upstreams/", upstreams, name="upstreams"),  # first: the admin answers for all that is below it
    path("admin/", admin.site.urls),
    path("", include("package.urls")),
]
