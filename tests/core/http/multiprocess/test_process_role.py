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
        ("./manage.py update_packages --all", ProcessRole("job", "update_packages")),
        ("/srv/app/manage.py --verbosity=2 migrate", ProcessRole("job", "migrate")),
        ("/srv/venv/bin/django-admin migrate", ProcessRole("job", "migrate")),
        ("/srv/site-packages/django/__main__.py check", ProcessRole("job", "check")),
        ("manage.py", ProcessRole("job", "help")),
    ],
)
def test_the_command_line_says_it(command_line: str, part: ProcessRole) -> None:
    """Servers of the web, workers of Celery and management commands are told apart, however they are started."""
    assert role_of(command_line.split(" ")) == part


@pytest.mark.parametrize("command", ["beat --schedule /tmp/schedule", "inspect ping --timeout 10", "status", ""])
def test_programs_of_celery_that_call_nobody_have_none(command: str) -> None:
    """They would only leave files."""
    assert role_of(["/srv/venv/bin/celery", "--app", "config", *command.split()]) is None
