"""A configured address that is wrong is refused by the name of its variable: no error holds a part of its password."""

from __future__ import annotations

import os
import traceback
from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.servers.common import free_port
from tests.servers.preloaded import run_python
from tests.site_settings import MINIMAL, settings_with

PASSWORDS = [
    *(f"s3cret{letter}s3cret" for letter in "@#/?:%[]\\ "),
    "123/s3cret",
    "s3cret%2Fs3cret",
    "s3cret\N{ACCOUNT OF}s3cret",
]
ADDRESSES = {
    "DATABASE_URL": "postgres",
    "CACHE_URL": "redis",
    "CELERY_BROKER_URL": "redis",
    **dict.fromkeys(("PYPI_URL", "GITHUB_API_URL", "GITLAB_SERVERS"), "https"),
}
SHAPES = {
    "well formed": "{scheme}://user:{password}@127.0.0.1:1/1",
    "no user": "{scheme}://:{password}@127.0.0.1:1/1",
    "bad port": "{scheme}://user:{password}@127.0.0.1:port/1",
    "port too high": "{scheme}://user:{password}@127.0.0.1:99999/1",
    "no scheme": "user:{password}@127.0.0.1:1/1",
    "unknown scheme": "nope://user:{password}@127.0.0.1:1/1",
    "one slash": "{scheme}:/user:{password}@127.0.0.1:1/1",
    "no colon": "{scheme}//user:{password}@127.0.0.1:1/1",
    "no end of IPv6": "{scheme}://user:{password}@[127.0.0.1/1",
    "no at": "{scheme}://user:{password}127.0.0.1:1/1",
    "option": "{scheme}://user:{password}@127.0.0.1:1/1?option=1",
    "password alone": "{password}",
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ADDRESSES)
def test_settings_refuse_without_the_password(name: str, shape: str) -> None:
    """For no form of the address, the error repeats the password; it names the variable and says what to do."""
    errors: list[Exception] = []
    for password in PASSWORDS:
        value = SHAPES[shape].format(scheme=ADDRESSES[name], password=password)
        try:
            settings_with(**{name: value})
        except ImproperlyConfigured as exc:
            errors.append(exc)
    for error in errors:
        said = "".join(traceback.format_exception(error))
        assert str(error).startswith(f"{name}: must be ")
        assert "percent-encoded" in said
        assert "s3cret" not in said
    if shape not in {"well formed", "no user", "option", "no at"}:
        assert len(errors) == len(PASSWORDS)


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_encoded_password_is_accepted(name: str) -> None:
    """A password that is encoded as the error says is accepted."""
    for password in PASSWORDS:
        settings_with(**{name: f"{ADDRESSES[name]}://user:{quote(password, safe='')}@127.0.0.1:1/1"})


@pytest.mark.parametrize("value", ["redis://s3cret@127.0.0.1:1/s3cret", "redis://user:123/s3cret127.0.0.1:1/1"])
@pytest.mark.parametrize("name", ["CACHE_URL", "CELERY_BROKER_URL"])
def test_the_database_of_a_redis_server_is_a_number(name: str, value: str) -> None:
    """The database of a Redis URL has to be a number, because Celery's error would quote any other text."""
    with pytest.raises(ImproperlyConfigured, match=name):
        settings_with(**{name: value})


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("sqlite:////srv/a@b#c.sqlite3", "/srv/a@b#c.sqlite3"),
        ("sqlite:////srv/a%23b.sqlite3", "/srv/a#b.sqlite3"),
        ("sqlite://:memory:", ":memory:"),
        ("postgres:///name", "name"),
        ("postgis://h/n", "n"),
    ],
)
def test_databases_without_a_password_are_taken(value: str, name: str) -> None:
    """A path may hold any letter."""
    assert settings_with(DATABASE_URL=value)["DATABASES"]["default"]["NAME"] == name


@pytest.mark.parametrize(
    "value", ["redis+socket:///run/redis", "amqp://u:p@h//", "sentinel://:p@h:1/0;sentinel://:p@h:2/0", "memory://", ""]
)
def test_brokers_of_every_kind_are_taken(value: str) -> None:
    """All that Celery knows; nothing is Redis on this machine."""
    assert settings_with(CELERY_BROKER_URL=value)["CELERY_BROKER_URL"] == (value or "redis://localhost:6379/0")


COMMANDS = {
    "check": ("DATABASE_URL", ["manage.py", "check", "--database", "default"]),
    "migrate": ("DATABASE_URL", ["manage.py", "migrate"]),
    "upstreams": ("CACHE_URL", ["manage.py", "upstreams"]),
    "celery": ("CELERY_BROKER_URL", ["-m", "celery", "--app", "config", "inspect", "ping", "--timeout", "1"]),
    "gunicorn": ("CACHE_URL", ["-m", "gunicorn", "config.wsgi", "--check-config"]),
}
"""Each with a variable that it needs."""


def run(command: str, password: str) -> tuple[str, int, str]:
    """Run a command with the address of no server. Returns the variable, the exit status and the output."""
    name, arguments = COMMANDS[command]
    address = f"{ADDRESSES[name]}://user:{password}@127.0.0.1:{free_port()}/1"
    environment = {**os.environ, **MINIMAL, "DJANGO_SETTINGS_MODULE": "config.settings", name: address}
    done = run_python(arguments, environment)
    return name, done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_a_wrong_address(command: str) -> None:
    """The last line names the variable and says what to do, and the output does not contain the password."""
    name, status, said = run(command, "s3cret/s3cret")
    assert status != 0
    assert f"{name}: must be the address of a" in said.strip().splitlines()[-1]
    assert "s3cret" not in said


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_keep_the_password_of_a_server_that_does_not_answer(command: str) -> None:
    """The output of commands contains neither the password nor its encoded form."""
    _, _, said = run(command, "s3cret%2Fs3cret")
    assert "s3cret" not in said
    assert "must be" not in said
