"""The app on sites that are set up in other ways than ours."""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import include, path

from core.http import process
from core.http.django.middleware import OperationsMiddleware

OURS = "core.http.django.middleware.OperationsMiddleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
MESSAGES = "django.contrib.messages.middleware.MessageMiddleware"
LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"


async def _answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse("an asynchronous view")


@pytest.fixture
def urls(settings: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the URLs of the site: to be added to."""
    module = ModuleType("urls_of_another_site")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    settings.ROOT_URLCONF = module.__name__
    patterns = [path("", include("core.http.django.urls")), path("view/", _answer)]
    module.__dict__["urlpatterns"] = patterns
    return patterns


class TestASGI:
    """The site under an asynchronous server."""

    @pytest.fixture(autouse=True)
    def _site(self, urls: list[Any], settings: Any) -> None:
        settings.MIDDLEWARE = [OURS]
        settings.DEBUG = True

    def test_the_middleware_is_asynchronous_where_the_view_is(self) -> None:
        """Django would need a thread for each request otherwise."""
        assert iscoroutinefunction(OperationsMiddleware(_answer))
        assert not iscoroutinefunction(OperationsMiddleware(lambda request: HttpResponse()))

    @pytest.mark.parametrize("url", ["/metrics", "/healthz", "/view/"])
    @pytest.mark.django_db(transaction=True)
    def test_pages_are_answered(self, url: str, caplog: pytest.LogCaptureFixture) -> None:
        """/metrics and /healthz run in a thread; nothing in between has to be adapted, which Django would log."""
        caplog.set_level(logging.DEBUG, "django.request")
        answer = async_to_sync(AsyncClient().get)(url)
        assert answer.status_code == 200
        assert "adapted for middleware" not in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize(("url", "status"), [("/metrics", 200), ("/healthz", 200), ("/upstreams/", 404)])
def test_machines_need_no_login(client: Client, urls: list[Any], settings: Any, url: str, status: int) -> None:
    """LoginRequiredMiddleware would redirect Prometheus to a form. Without the admin there is no page for staff."""
    settings.MIDDLEWARE = [SESSIONS, AUTHENTICATION, LOGIN_REQUIRED]
    settings.DEBUG = True
    assert client.get(url).status_code == status


class OnlySuperusers(AdminSite):
    """An admin site that admits fewer users than Django's."""

    site_header = "For a few"

    def has_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)


@pytest.mark.django_db
@pytest.mark.parametrize("more", [[], [LOGIN_REQUIRED]], ids=["", "login required"])
def test_the_admin_site_of_the_adopter_admits_users(
    client: Client, urls: list[Any], settings: Any, more: list[str]
) -> None:
    """The page of upstreams belongs to the admin site that the URLs mount, with its rules and its heading."""
    urls.append(path("staff/", OnlySuperusers(name="few").urls))
    settings.MIDDLEWARE = [SESSIONS, AUTHENTICATION, *more, MESSAGES]
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get("/upstreams/").headers["Location"] == "/staff/login/?next=/upstreams/"
    client.force_login(User.objects.create_superuser("root"))
    page = client.get("/upstreams/")
    assert page.status_code == 200
    assert "For a few" in page.text
    assert 'href="/staff/"' in page.text


def test_a_site_without_a_database_is_alive(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """With DATABASES = {}, /healthz succeeds without a database."""
    monkeypatch.setitem(connection.settings_dict, "ENGINE", "django.db.backends.dummy")
    assert client.get("/healthz").content == b"ok\n"


class TestForgottenApp:
    """OUTBOUND_HTTP is set, and "core.http.django" is not in INSTALLED_APPS."""

    WARNING = 'OUTBOUND_HTTP is not read, so all upstreams use the defaults: add "core.http.django" to INSTALLED_APPS'

    @pytest.fixture(autouse=True)
    def _forgotten(self, outbound_http: object) -> None:
        process.use(process._default_registry)  # the app would have replaced it

    def test_the_first_call_warns(self, caplog: pytest.LogCaptureFixture) -> None:
        """Without the app there are no checks, so the first call logs a warning, and later ones do not."""
        process.current()
        process.current()
        assert [record.getMessage() for record in caplog.records] == [self.WARNING]
        assert caplog.records[0].levelname == "WARNING"

    def test_without_the_setting_there_is_no_warning(self, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
        """A site may use the library without the app."""
        del settings.OUTBOUND_HTTP
        process.current()
        assert caplog.records == []

    @pytest.mark.parametrize("module", ["django.apps", "django.conf"])
    def test_without_django_there_is_no_warning(
        self, module: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A script that uses no Django, or parts of it only, has no settings."""
        monkeypatch.delitem(sys.modules, module)
        process.current()
        assert module not in sys.modules
        assert caplog.records == []

    def test_during_the_setup_there_is_no_warning(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A call that is made while Django imports models comes before the app reads the setting."""
        monkeypatch.setattr("django.apps.apps.ready", False)
        process.current()
        assert caplog.records == []
