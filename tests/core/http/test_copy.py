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
from tests.core.http.conftest import Serve
from tests.core.http.misbehave import reply

LIBRARY = Path(core.http.__file__).parent
ROOT = LIBRARY.parent.parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the folder to somewhere/outbound/. Returns what is to be on the path of Python."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(LIBRARY, tmp_path / "somewhere" / "outbound", ignore=ignore)
    (tmp_path / "somewhere" / "__init__.py").touch()
    return tmp_path


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
    """A call, a check and a scrape: logger, check ids, app label and URL names are what they are everywhere."""
    done = run(
        """
        import logging, os
        from django.conf import settings
        settings.configure(
            INSTALLED_APPS=["somewhere.outbound.django"],
            OUTBOUND_HTTP={"upstreams": {"example": {"hosts": [os.environ["NETLOC"]], "retries": -1}}},
            DEBUG=True,
            METRICS_TOKENS=[],
            ROOT_URLCONF="somewhere.outbound.django.urls",
            ALLOWED_HOSTS=["testserver"],
        )
        import django
        records = []
        logger = logging.getLogger("core.http")
        logger.propagate = False
        logger.setLevel("INFO")
        logger.addHandler(type("Kept", (logging.Handler,), {"emit": lambda _, record: records.append(record)})())
        django.setup()
        from django.apps import apps
        from django.core.checks import run_checks
        from django.test import Client, override_settings
        from django.urls import reverse
        from somewhere import outbound

        assert apps.get_app_config("outbound_http").name == "somewhere.outbound.django"
        assert [check.id for check in run_checks()] == ["core.http.E002"]
        assert records.pop().levelname == "ERROR"
        good = {"upstreams": {"example": {"hosts": [os.environ["NETLOC"]], "backoff": 0}}}
        with override_settings(OUTBOUND_HTTP=good):
            assert run_checks() == []
            session = outbound.ResilientSession()
            assert session.get(os.environ["URL"]).text == "fine"
            assert records.pop().levelname == "INFO"
            scrape = Client().get(reverse("outbound_http:metrics")).text
        assert 'outbound_http_calls_total{outcome="success",reason="",upstream="example"} 1.0' in scrape
        assert not [name for name in __import__("sys").modules if name.split(".")[0] == "core"]
        """,
        copy,
        NETLOC=(server := serve(reply(503), reply(200, b"fine"))).netloc,
        URL=server.url,
    )
    assert done.returncode == 0, done.stderr


def test_cache_keys_are_the_same_in_every_copy(copy: Path) -> None:
    """Processes of one site may run copies of different names, for the length of a deployment."""
    done = run("from somewhere.outbound.shared.records import key_of; print(key_of('pypi'))", copy)
    assert (done.stdout, done.returncode) == ("core.http:1:pypi\n", 0), done.stderr


def test_a_second_copy_in_one_process_is_refused(copy: Path) -> None:
    """The error names both folders and says what to do, before a metric is registered twice."""
    done = run("import core.http; import somewhere.outbound", copy, ROOT)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: somewhere.outbound")
    assert str(copy / "somewhere" / "outbound") in last
    assert str(LIBRARY) in last
    assert "import core.http everywhere" in last


def test_the_same_copy_may_be_imported_again() -> None:
    """A test that purges `sys.modules` gets no second copy."""
    program = """
        import sys, core.http
        sys.modules = {name: module for name, module in sys.modules.items() if not name.startswith("core.http")}
        import core.http.only_copy
        """
    done = run(program, ROOT)
    assert "second copy" not in done.stderr
