"""The site under gunicorn, and a visitor."""

from __future__ import annotations

from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, ProxyHandler, Request, build_opener

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User

from tests.servers.common import LONGEST
from tests.servers.program import Program
from tests.servers.site import Site
from tests.upstreams.server import Upstreams

NAME, PASSWORD = "somebody", "for tests only"
VISITED = {"ALLOWED_HOSTS": "127.0.0.1", "SECURE_COOKIES": "false"}
"""What the environment of a site must have for a visit by plain HTTP."""
TOKEN = "for scrapes only"


def measured_site(upstreams: Upstreams, directory: Path) -> Site:
    """Make a site whose processes share their metrics, with an account for a visitor and `TOKEN` for /metrics."""
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(directory / "metrics"), "METRICS_TOKENS": TOKEN}
    site = Site(upstreams, directory, f"sqlite:///{directory / 'site.sqlite3'}", **shared, **VISITED)
    site.fill()
    password = PBKDF2PasswordHasher().encode(PASSWORD, "salt")  # the hasher of the site, and not of the tests
    site.add(User(username=NAME, password=password, is_staff=True, is_superuser=True))
    return site


def gunicorn(site: Site, port: int, *, workers: int = 3) -> Program:
    """Serve it, and return when it answers."""
    options = ["--bind", f"127.0.0.1:{port}", "--workers", str(workers), "--threads", "4", "--no-control-socket"]
    program = Program(["-m", "gunicorn", "config.wsgi", *options], site.environment, site.log("gunicorn"))
    try:
        program.wait_for_answer(f"http://127.0.0.1:{port}/healthz", LONGEST)
    except BaseException:
        program.kill()
        raise
    return program


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class Visitor:
    """A visitor with an account. Several threads may use the same one."""

    def __init__(self, port: int) -> None:
        """Log in, with the account that `measured_site` has made."""
        self._url = f"http://127.0.0.1:{port}"
        self._jar = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self._jar), ProxyHandler({}), _Stay())
        with self._opener.open(f"{self._url}/admin/login/", timeout=LONGEST):
            pass
        assert self._post("/admin/login/", username=NAME, password=PASSWORD) == 302, "the login was refused"

    def fetch(self, slug: str) -> int:
        """Refresh a package, and wait for it. Returns the status of the answer; 0: there was none."""
        return self._post(f"/packages/p/{slug}/fetch/")

    def _post(self, path: str, **fields: str) -> int:
        token = next(str(cookie.value) for cookie in self._jar if cookie.name == "csrftoken")
        data = urlencode({"csrfmiddlewaretoken": token, **fields}).encode()
        try:
            with self._opener.open(Request(f"{self._url}{path}", data), timeout=LONGEST) as answer:
                return int(answer.status)
        except HTTPError as answer:
            return answer.code
        except OSError:
            return 0
