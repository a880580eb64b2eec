"""Windows, simulated: the library works without the modules and names that Python lacks there."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from tests.core.http.conftest import Serve
from tests.core.http.misbehave import HOLD, reply
from tests.pages import ROOT

LESS = """
    import asyncio, concurrent.futures, logging.handlers, multiprocessing.util, random, subprocess, tempfile, uuid
    import os, select, signal, socket, sys, time
    from contextlib import suppress
    with suppress(ImportError):
        import trio  # which knows the real Windows by other names than these

    MODULES = ["fcntl", "grp", "posix", "pwd", "resource", "termios", "syslog", "pty"]
    for name in MODULES:
        sys.modules[name] = None  # as if it were not there
    NAMES = {
        os: ["fork", "forkpty", "register_at_fork", "getuid", "geteuid", "getgid", "getegid", "getgroups", "uname",
             "sysconf", "statvfs", "pread", "pwrite", "posix_spawn", "sched_getaffinity", "chown", "fchown", "mkfifo",
             "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_SYNC", "killpg", "setsid", "wait", "wait4"],
        select: ["poll", "epoll"],
        signal: ["SIGALRM", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE", "alarm", "setitimer",
                 "pthread_sigmask"],
        socket: ["AF_UNIX", "SO_REUSEPORT", "MSG_DONTWAIT", "MSG_NOSIGNAL", "CMSG_LEN", "SO_PEERCRED"],
        time: ["clock_gettime", "tzset", "pthread_getcpuclockid"],
    }
    for module, names in NAMES.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    """


def on_windows(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LESS) + textwrap.dedent(program)],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"},
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_every_module_is_imported() -> None:
    """All modules, with those of the Django app, can be imported without the modules that Windows lacks."""
    done = on_windows(
        """
        from importlib import import_module
        from pkgutil import walk_packages
        from django.conf import settings
        settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "core.http.django"])
        import django
        django.setup()
        import core.http
        for found in walk_packages(core.http.__path__, "core.http."):
            try:
                import_module(found.name)
            except ModuleNotFoundError as error:  # the lowest versions go without httpx2
                if error.name not in {"httpcore2", "httpx2"}:
                    raise
        """
    )
    assert done.returncode == 0, done.stderr


def test_a_call_is_retried_and_cut_off(serve: Serve) -> None:
    """A server that fails once and then one that hangs: retries and the deadline work as elsewhere."""
    server = serve(reply(503), reply(200, b"fine"), HOLD)
    done = on_windows(
        """
        import requests
        from core.http import Policy, ResilientSession

        session = ResilientSession(Policy(backoff=0, attempt_timeout=10))
        print(session.get(os.environ["URL"]).text)
        try:
            ResilientSession(Policy(retries=0, attempt_timeout=0.3)).get(os.environ["URL"])
        except requests.ReadTimeout as exc:
            print(exc.reached)
        """,
        URL=server.url,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["fine", "headers"]


def test_a_scrape_shows_the_process(serve: Serve) -> None:
    """/metrics has the counts of the process that is asked; a shared directory is refused in the log."""
    server = serve(reply(200, b"fine"))
    done = on_windows(
        """
        from django.conf import settings
        settings.configure(
            INSTALLED_APPS=["core.http.django"], DEBUG=True, ROOT_URLCONF="core.http.django.urls",
            ALLOWED_HOSTS=["testserver"], SECRET_KEY="secret",
        )
        from core.http import multiprocess
        multiprocess.take_part(multiprocess.ProcessRole("web"))
        import django
        django.setup()
        from django.test import Client
        from core import http
        http.get(os.environ["URL"])
        print(Client().get("/metrics").text)
        """,
        URL=server.url,
        PROMETHEUS_MULTIPROC_DIR="metrics-of-windows",
    )
    assert done.returncode == 0, done.stderr
    assert 'outbound_http_calls_total{outcome="success",reason="",upstream="other"} 1.0' in done.stdout
    assert "PROMETHEUS_MULTIPROC_DIR is not used, because it needs flock" in done.stderr
    assert not (ROOT / "metrics-of-windows").exists()
