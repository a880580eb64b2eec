"""A new project of `startproject` copies the library, following the steps in README.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.request import Request

import pytest

import core.http
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import reply
from tests.servers.common import DIRECT, LONGEST, free_port
from tests.servers.program import Program

LIBRARY = Path(core.http.__file__).parent
CALLS = 12
EDITS = {
    "shop/settings.py": {
        "INSTALLED_APPS = [": "INSTALLED_APPS = [\n    'outbound.django',",
        "MIDDLEWARE = [": "MIDDLEWARE = [\n    'outbound.django.middleware.OperationsMiddleware',",
        "STATIC_URL": "OUTBOUND_HTTP = {'upstreams': {'shipping': {'hosts': [os.environ['SHIPPING']]}}}\nSTATIC_URL",
        "from pathlib import Path": "import os\nfrom pathlib import Path",
    },
    "shop/urls.py": {
        "from django.urls import path": "from django.urls import include, path\nfrom shop.views import rates",
        "urlpatterns = [": (
            "urlpatterns = [\n    path('operations/', include('outbound.django.urls')),\n    path('rates/', rates),"
        ),
    },
}
VIEW = """
import os
from django.http import HttpResponse
from outbound import ResilientSession

session = ResilientSession()


def rates(request):
    return HttpResponse(session.get(f"http://{os.environ['SHIPPING']}/rates").text)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("project")
    subprocess.run([sys.executable, "-m", "django", "startproject", "shop", directory], check=True)
    shutil.copytree(LIBRARY, directory / "outbound")  # with __pycache__, so that no process compiles it
    (directory / "shop" / "views.py").write_text(VIEW)
    for name, edits in EDITS.items():
        text = (directory / name).read_text()
        for before, after in edits.items():
            assert text.count(before) == 1
            text = text.replace(before, after)
        (directory / name).write_text(text)
    return directory


def environment(project: Path, shipping: str) -> Mapping[str, str]:
    names = {"DJANGO_SETTINGS_MODULE": "shop.settings", "PYTHONPATH": str(project), "SHIPPING": shipping}
    return {**os.environ, **names, "NO_PROXY": "127.0.0.1", "PROMETHEUS_MULTIPROC_DIR": str(project / "metrics")}


def manage(project: Path, *command: str, shipping: str = "shipping.test") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *command],
        cwd=project,
        env=environment(project, shipping),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def test_the_check_passes(project: Path) -> None:
    """`manage.py check` reports no problem, and Python no warning."""
    done = manage(project, "check", "--fail-level", "WARNING")
    assert (done.returncode, done.stdout) == (0, "System check identified no issues (0 silenced).\n"), done.stderr


def test_the_check_says_which_setting_is_wrong(project: Path) -> None:
    """A host with a scheme is reported with the name of the setting and of the upstream."""
    done = manage(project, "check", shipping="https://shipping.test")
    assert done.returncode == 1
    assert (
        "(core.http.E003) OUTBOUND_HTTP['upstreams']['shipping']: 'hosts' contains 'https://shipping.test'"
        in done.stderr
    )


def test_the_command_knows_the_upstreams(project: Path) -> None:
    """`manage.py upstreams` lists the upstreams of the settings."""
    assert "shipping: breaker unknown" in manage(project, "upstreams").stdout


def test_three_workers_are_scraped_as_one(project: Path, serve: Serve) -> None:
    """Every series exists with 0 before the first call; after calls, each worker exports those of all."""
    shutil.rmtree(project / "metrics", ignore_errors=True)
    shipping = serve(*[reply(200, b"fine")] * CALLS)
    (project / "gunicorn.conf.py").write_text("control_socket_disable = True\n")
    address = f"127.0.0.1:{free_port()}"
    options = ["--workers=3", f"--bind={address}", f"--chdir={project}", f"--config={project / 'gunicorn.conf.py'}"]

    def get(path: str) -> str:
        with DIRECT.open(Request(f"http://{address}{path}"), timeout=LONGEST) as answer:
            assert answer.status == 200
            return str(answer.read().decode())

    def counted(role: str) -> list[str]:
        series = f'outbound_http_calls_total{{outcome="success",reason="",role="{role}",upstream="shipping"}}'
        return re.findall(rf"^{re.escape(series)} (\S+)$", get("/metrics"), re.MULTILINE)

    command = ["-m", "gunicorn", "shop.wsgi", *options]
    with Program(command, environment(project, shipping.netloc), project / "gunicorn.log") as program:
        program.wait_for_answer(f"http://{address}/healthz", LONGEST)
        assert [counted(role) for role in ("web", "worker", "job")] == 3 * [["0.0"]]
        assert {get("/rates/") for _ in range(CALLS)} == {"fine"}
        assert [counted("web") for _ in range(6)] == 6 * [[f"{CALLS}.0"]]
        assert get("/operations/healthz") == "ok\n"
        assert "Django administration" in get("/operations/upstreams/")  # its login
