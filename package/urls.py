from django.urls import path

from package import views

urlpatterns = [
    path("", views.package_list, name="home"),
    path("packages/p/<slug:slug>/", views.package_detail, name="package"),
    path("packages/p/<slug:slug>/fetch/", views.fetch_package, name="fetch_package"),
]
