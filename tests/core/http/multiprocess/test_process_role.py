"""Which part a process plays."""

from __future__ import annotations

import pytest

from core.http.multiprocess import ProcessRole, role_of


@pytest.mark.parametrize(
    ("command_line", "part"),
    [
        ("/srv/venv/bin/gunicorn config.wsgi --threads 4", ProcessRole("web")),
        ("/usr/lib/python3/site-packages/uvicorn/__main__.py config.asgi:application", ProcessRole("web")),
        ("manage.py runserver 0.0.0.0:8000", ProcessRole("web")),
        ("", ProcessRole("web")),
        ("/srv/venv/bin/celery --app config worker --queues pypi", ProcessRole("worker")),
        ("/srv/site-packages/celery/__main__.py -A config worker", ProcessRole("worker")),
        ("manage.py qcluster", ProcessRole("worker")),
        ("/srv/app/manage.py --settings=config.settings qcluster --run-once", ProcessRole("worker")),
        ("manage.py rqworker high default", ProcessRole("worker")),
        ("manage.py rqworker-pool --num-workers 4", ProcessRole("worker")),
        ("/srv/venv/bin/rq worker --url redis://localhost", ProcessRole("worker")),
        ("/srv/venv/bin/rq worker-pool -n 4", ProcessRole("worker")),
        ("/srv/venv/bin/rqworker high", ProcessRole("worker")),
        ("manage.py run_huey --workers 4", ProcessRole("worker")),
        ("/srv/venv/bin/huey_consumer config.huey.huey", ProcessRole("worker")),
        ("/srv/site-packages/huey/bin/huey_consumer.py config.huey.huey", ProcessRole("worker")),
        ("manage.py db_worker", ProcessRole("worker")),
        ("/srv/venv/bin/dramatiq tasks", ProcessRole("worker")),
        ("manage.py rundramatiq", ProcessRole("worker")),
        ("./manage.py update_packages --all", ProcessRole("job", "update_packages")),
        ("/srv/app/manage.py --verbosity=2 migrate", ProcessRole("job", "migrate")),
        ("/srv/venv/bin/django-admin migrate", ProcessRole("job", "migrate")),
        ("/srv/site-packages/django/__main__.py check", ProcessRole("job", "check")),
        ("manage.py", ProcessRole("job", "help")),
    ],
)
def test_the_role_follows_from_the_command_line(command_line: str, part: ProcessRole) -> None:
    """Web servers, queue workers and management commands have different roles, however they are started."""
    assert role_of(command_line.split(" ")) == part


@pytest.mark.parametrize("command", ["beat --schedule /tmp/schedule", "inspect ping --timeout 10", "status", ""])
def test_programs_of_celery_without_calls_have_no_role(command: str) -> None:
    """Celery's programs that make no calls have no role, because they would only leave files."""
    assert role_of(["/srv/venv/bin/celery", "--app", "config", *command.split()]) is None


@pytest.mark.parametrize("command", ["info", "empty --all", "suspend", ""])
def test_programs_of_rq_without_calls_have_no_role(command: str) -> None:
    """RQ's programs that make no calls have no role."""
    assert role_of(["/srv/venv/bin/rq", *command.split()]) is None


@pytest.mark.parametrize(
    ("command_line", "role", "part"),
    [
        ("/srv/app/consumer.py", "worker", ProcessRole("worker")),
        ("manage.py consume", "worker", ProcessRole("worker")),
        ("/srv/app/nightly.py --all", "job", ProcessRole("job", "nightly")),
        ("manage.py update_packages", "job", ProcessRole("job", "update_packages")),
        ("manage.py serve", "web", ProcessRole("web")),
        ("/srv/venv/bin/celery --app config beat", "worker", ProcessRole("worker")),
        ("/srv/app/consumer.py", "", ProcessRole("web")),
    ],
)
def test_the_environment_says_it_before_the_command_line(command_line: str, role: str, part: ProcessRole) -> None:
    """OUTBOUND_HTTP_ROLE is for programs that are not known here; a job keeps a name that is the same for each run."""
    assert role_of(command_line.split(), {"OUTBOUND_HTTP_ROLE": role}) == part


def test_an_unknown_role_is_logged_and_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in the environment of one process stops nothing."""
    assert role_of(["manage.py", "qcluster"], {"OUTBOUND_HTTP_ROLE": "queue"}) == ProcessRole("worker")
    assert "OUTBOUND_HTTP_ROLE='queue' is ignored: it must be one of web, worker, job" in caplog.text
