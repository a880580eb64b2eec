"""The folder is adopted by copying it: under another name it is the same library, and one process uses one copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import core.http
from core.http.shared import records, upstream_diagnostics
from tests.core.http.adopter import DJANGO_SITE
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import reply

LIBRARY = Path(core.http.__file__).parent
ROOT = LIBRARY.parent.parent


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the folder to somewhere/outbound/. Returns the directory for Python's path."""
    directory = tmp_path_factory.mktemp("copy")
    shutil.copytree(LIBRARY, directory / "somewhere" / "outbound")  # with __pycache__, so that no process compiles it
    (directory / "somewhere" / "__init__.py").touch()
    return directory


def run(program: str, *path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(map(str, path)), "NO_PROXY": "127.0.0.1"},
        cwd=path[0],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_a_copy_works_under_any_name(copy: Path, serve: Serve) -> None:
    """In a copy with another name, logger, check ids, app label and URL names are the same."""
    server = serve(reply(503), reply(200, b"fine"))
    done = run(DJANGO_SITE, copy, LIBRARY="somewhere.outbound", NETLOC=server.netloc, URL=server.url)
    assert done.returncode == 0, done.stderr


def test_cache_keys_are_the_same_in_every_copy(copy: Path) -> None:
    """Processes of one site may run copies of different names, for the length of a deployment."""
    done = run(
        """
        from somewhere.outbound.shared import records, upstream_diagnostics
        print(records.key_of("pypi"), upstream_diagnostics.key_of("pypi"))
        """,
        copy,
    )
    assert done.stdout.split() == [records.key_of("pypi"), upstream_diagnostics.key_of("pypi")], done.stderr
    assert records.key_of("pypi") == "core.http:1:pypi"


STAFF_PAGE = """
    import os, sys, types
    import django
    from django.conf import settings
    contrib = [f"django.contrib.{name}" for name in os.environ["CONTRIB"].split()]
    ours = ["somewhere.outbound.django"]
    settings.configure(
        INSTALLED_APPS=ours + contrib if os.environ["OURS"] == "first" else contrib + ours,
        ROOT_URLCONF="site_urls",
        ALLOWED_HOSTS=["testserver"],
        SECRET_KEY="secret",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
    )
    django.setup()
    from django.apps import apps
    from django.urls import include, path
    site = sys.modules["site_urls"] = types.ModuleType("site_urls")
    site.urlpatterns = []
    if os.environ["OUR_URLS"]:
        site.urlpatterns.append(path("ops/", include("somewhere.outbound.django.urls")))
    if apps.is_installed("django.contrib.admin"):
        from django.contrib import admin
        site.urlpatterns.append(path("admin/", admin.site.urls))
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client
    call_command("check", "--fail-level=WARNING")
    call_command("migrate", verbosity=0)
    staff = Client()
    staff.force_login(User.objects.create_superuser("staff"))
    page = staff.get("/ops/upstreams/")
    assert page.status_code != 200 or b"Circuit breaker" in page.content
    print(staff.get("/admin/").status_code, page.status_code, Client().get("/ops/upstreams/").headers.get("Location"))
    """
CONTRIB = "auth contenttypes sessions messages"
LOGIN = "/admin/login/?next=/ops/upstreams/"


@pytest.mark.parametrize(
    ("ours", "contrib", "our_urls", "expected"),
    [
        ("first", f"admin {CONTRIB}", "yes", f"200 200 {LOGIN}"),
        ("last", f"admin {CONTRIB}", "yes", f"200 200 {LOGIN}"),
        ("first", f"admin {CONTRIB}", "", "200 404 None"),
        ("last", f"admin {CONTRIB}", "", "200 404 None"),
        ("first", CONTRIB, "yes", "404 404 None"),
    ],
    ids=["before the admin", "after the admin", "before, without URLs", "after, without URLs", "without the admin"],
)
def test_the_staff_page_works_or_is_absent(copy: Path, ours: str, contrib: str, our_urls: str, expected: str) -> None:
    """In any order of the apps, the index of the admin is Django's, and the page is for staff or a 404."""
    done = run(STAFF_PAGE, copy, OURS=ours, CONTRIB=contrib, OUR_URLS=our_urls)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == expected


def test_it_works_without_django_and_httpx() -> None:
    """Without Django and httpx, all modules but those made for them are imported, and a call is made."""
    program = """
        import sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {"django", "httpx", "httpx2", "anyio", "package", "config"}:
                    raise ImportError(f"{name} is blocked")

        sys.meta_path.insert(0, Blocker())

        from http.server import BaseHTTPRequestHandler, HTTPServer
        from importlib import import_module
        from pkgutil import walk_packages
        from threading import Thread

        class Handler(BaseHTTPRequestHandler):
            answers = [503, 200]
            def do_GET(self):
                self.send_response(self.answers.pop(0))
                self.send_header("Content-Length", "0")
                self.end_headers()
            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()

        from core import http
        from core.http import process, registry

        modules = [found.name for found in walk_packages(http.__path__, "core.http.", onerror=lambda name: None)]
        without = {"django", "httpx", "httpx2", "httpx_driver"}
        modules = [name for name in modules if name.split(".")[2] not in without]
        for name in modules:
            import_module(name)
        now = [0.0]
        process.use(runtime=registry.Runtime(lambda: now[0], lambda s: now.__setitem__(0, now[0] + s), lambda: 0.0))
        url = f"http://127.0.0.1:{server.server_port}/"
        print(http.get(url, proxies={"http": None}).status_code, now, Handler.answers)
        print([name for name in sys.modules if name.split(".")[0] in {"django", "httpx", "anyio"}])
        print(len(modules))
        server.shutdown()
        server.server_close()
        """
    done = run(program, ROOT)
    assert done.returncode == 0, done.stderr
    *called, modules = done.stdout.splitlines()
    assert called == ["200 [1.0] []", "[]"]
    parts = [path.relative_to(LIBRARY).with_suffix("").parts for path in LIBRARY.rglob("*.py")]
    without = {"django", "httpx", "httpx2", "httpx_driver"}
    assert int(modules) == sum(without.isdisjoint(each) for each in parts) - 1


def test_a_second_copy_in_one_process_is_refused(copy: Path) -> None:
    """The error names both folders and says what to do, before a metric is registered twice."""
    done = run("import core.http; import somewhere.outbound", copy, ROOT)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: somewhere.outbound")
    assert str(copy / "somewhere" / "outbound") in last
    assert str(LIBRARY) in last
    assert "import core.http everywhere" in last


def test_one_folder_under_two_names_is_refused(copy: Path) -> None:
    """One folder under two names would be imported twice, so the second import is refused."""
    done = run("import somewhere.outbound; import outbound", copy, copy / "somewhere")
    assert done.stderr.splitlines()[-1].startswith("ImportError: outbound (")


def test_the_same_copy_may_be_imported_again() -> None:
    """A test that purges `sys.modules` gets no second copy."""
    program = """
        import sys, core.http
        for name in [name for name in sys.modules if name.startswith("core.http")]:
            del sys.modules[name]
        import core.http
        """
    done = run(program, ROOT)
    assert done.returncode == 0, done.stderr
