"""compose.yaml, the configuration that it mounts and .env.example fit each other and the documentation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import redis
import yaml

from tests.deployment import COMPOSE, WORKERS, compose, document, services, tool
from tests.pages import ROOT, table
from tests.servers.common import free_port, wait_until
from tests.servers.preloaded import run_python

EXAMPLE = ROOT / ".env.example"
PROMETHEUS = ROOT / "grafana" / "prometheus"
QUEUES = {"pypi", "pypistats", "github", "gitlab", "bitbucket", "codeberg", "forgejo", "repository", "updates"}
SITE = {"web", "beat", "migrate"} | WORKERS
SERVICES = SITE | {"postgres", "valkey", "prometheus", "alertmanager", "grafana"}
SECRETS = dict.fromkeys(
    ("SECRET_KEY", "METRICS_TOKENS", "POSTGRES_PASSWORD", "VALKEY_PASSWORD", "GRAFANA_ADMIN_PASSWORD"), "for-a-test"
)
"""Without these nothing starts."""


def example(*, everything: bool) -> dict[str, str]:
    """Return the variables of .env.example; `everything`: those too that are commented out."""
    comment = "(?:# )?" if everything else ""
    found = re.findall(rf"^{comment}([A-Z][A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    return {name: value.strip('"') for name, value in found}


def documented(page: str, heading: str) -> set[str]:
    """Return the variables in the tables of a page, from `heading` on."""
    return {name for name in table(page, heading) if name.isupper()}


def configured(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run `docker compose config` with .env.example and these variables."""
    return subprocess.run(
        [*compose(), "--file", str(COMPOSE), "--env-file", str(EXAMPLE), "config"],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_compose_accepts_the_file() -> None:
    """With .env.example and the secrets, `docker compose config` has no objection, and shows every service."""
    done = configured(**SECRETS)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == SERVICES


@pytest.mark.parametrize("secret", SECRETS)
def test_nothing_starts_without_its_secrets(secret: str) -> None:
    """Compose refuses .env.example as long as a secret is empty, and names it."""
    done = configured(**{**SECRETS, secret: ""})
    assert done.returncode != 0
    assert f"put {secret} into .env" in done.stderr


def test_all_who_use_valkey_have_its_password() -> None:
    """The site and the health checks use the password for broker and cache."""
    done = configured(**{**SECRETS, "VALKEY_PASSWORD": "of-valkey"})
    found = yaml.safe_load(done.stdout)["services"]
    for name in SITE:
        environment = found[name]["environment"]
        assert environment["CELERY_BROKER_URL"] == "redis://:of-valkey@valkey:6379/0"
        assert environment["CACHE_URL"] == "redis://:of-valkey@valkey:6379/1"
    assert found["valkey"]["environment"] == {"REDISCLI_AUTH": "of-valkey"}
    assert "valkey-cli ping" in found["valkey"]["healthcheck"]["test"][1]


def test_valkey_wants_its_password(tmp_path: Path) -> None:
    """The command of the service, run with a Redis server, needs a password and has it in no argument."""
    stand_ins = {
        "chown": "exit 0",
        "docker-entrypoint.sh": 'exec "$@"',
        "valkey-server": f'exec {tool("redis-server", "redis-server")} "$@" --port $PORT --bind 127.0.0.1 --save ""',
    }
    for name, line in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    service, port = services()["valkey"], free_port()
    (script,) = service["command"]
    script = script.replace("$$", "$").replace("/tmp/", f"{tmp_path}/")
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PORT": str(port), "REDISCLI_AUTH": "s3cret"}
    command = [*service["entrypoint"], script]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            with redis.Redis(port=port, password="s3cret") as known, redis.Redis(port=port) as unknown:
                wait_until(lambda: answers(known), 60, "it answers")
                assert known.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
                with pytest.raises(redis.AuthenticationError):
                    unknown.ping()
            assert b"s3cret" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
            assert (tmp_path / "password.conf").stat().st_mode & 0o077 == 0
        finally:
            server.kill()


def answers(server: redis.Redis) -> bool:
    try:
        return bool(server.ping())
    except redis.ConnectionError:
        return False


def test_no_secret_has_a_value() -> None:
    """Neither .env.example nor compose.yaml has a value for a key, a token or a password."""
    secret = re.compile(r"_(KEY|TOKENS?|PASSWORD)$")
    assert {value for name, value in example(everything=True).items() if secret.search(name)} == {""}
    defaults = re.findall(r"\$\{([A-Z_]+):?-", COMPOSE.read_text())
    assert [name for name in defaults if secret.search(name)] == []


def test_every_variable_of_compose_is_in_the_example() -> None:
    """Each variable that compose.yaml takes from .env is in .env.example."""
    taken = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", COMPOSE.read_text()))
    for service in services().values():
        taken |= {name for name, value in service.get("environment", {}).items() if value is None}
    assert taken <= set(example(everything=True))


def test_the_example_and_the_documentation_name_the_same_variables() -> None:
    """.env.example has exactly the variables in docs/settings.md and docs/operations.md."""
    names = documented("settings.md", "## The site") | documented("operations.md", "## What is in .env")
    # A process needs PROMETHEUS_MULTIPROC_DIR before it reads .env.
    assert set(example(everything=True)) == names - {"PROMETHEUS_MULTIPROC_DIR"}


def test_every_variable_of_the_example_is_explained() -> None:
    """Each variable of .env.example has a comment before it."""
    lines = EXAMPLE.read_text().splitlines()
    variable = re.compile(r"(# )?[A-Z][A-Z_]+=")
    unexplained = [
        line
        for above, line in pairwise(lines)
        if variable.match(line) and (not above.startswith("# ") or variable.match(above))
    ]
    assert unexplained == []


@pytest.mark.parametrize("service", sorted(SITE))
def test_every_setting_reaches_the_site(service: str) -> None:
    """Each variable in docs/settings.md can be set by .env, except those that a deployment should not change."""
    settings = documented("settings.md", "## The site") - {"DEBUG", "PROMETHEUS_MULTIPROC_DIR"}
    assert settings <= set(services()[service]["environment"])


@pytest.mark.parametrize(
    "variables",
    [{**example(everything=False), "DEBUG": "true"}, {**example(everything=True), **SECRETS, "DEBUG": "false"}],
    ids=["working copy", "everything"],
)
def test_the_site_takes_the_example(variables: dict[str, str]) -> None:
    """`manage.py check` accepts .env.example with DEBUG on, and all of its example values."""
    done = run_python(["manage.py", "check"], {"PATH": os.environ["PATH"], **variables})
    assert done.returncode == 0, done.stderr


def test_every_queue_has_one_group_of_workers() -> None:
    """Each queue has exactly one service with workers."""
    queues = [
        queue
        for name in sorted(WORKERS)
        for queue in re.search(r"--queues (\S+)", services()[name]["command"])[1].split(",")  # type: ignore[index]
    ]
    assert sorted(queues) == sorted(QUEUES)


def test_only_the_site_and_grafana_can_be_reached() -> None:
    """Two ports are published, to this machine only."""
    ports = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert set(ports) == {"web", "grafana"}
    assert all(port.startswith("127.0.0.1:") for some in ports.values() for port in some)


def test_mounted_files_exist() -> None:
    """Each mounted file exists, because Docker would create a directory in its place."""
    mounts = [mount for service in services().values() for mount in service.get("volumes", ())]
    sources = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", mount).partition(":")[0] for mount in mounts]
    assert [source for source in sources if source.startswith(".") and not (ROOT / source).exists()] == []


def test_sources_of_the_image_exist() -> None:
    """Each source of a COPY in the Dockerfile exists, and .dockerignore lets it through."""
    copied = re.findall(r"^COPY (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == let_through
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_images_are_pinned() -> None:
    """Images are pinned, so that a new release of another project changes no image."""
    images = {service["image"] for service in services().values()} - {"djangopackages"}
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image)] == []


def test_metrics_are_kept_together() -> None:
    """All services that make calls share the directory of metrics."""
    counting = {
        name: service
        for name, service in services().items()
        if "PROMETHEUS_MULTIPROC_DIR" in service.get("environment", {})
    }
    assert set(counting) == {"web"} | WORKERS
    assert {service["environment"]["PROMETHEUS_MULTIPROC_DIR"] for service in counting.values()} == {"/run/metrics"}
    assert all("metrics:/run/metrics" in service["volumes"] for service in counting.values())


def test_the_site_is_the_only_scrape_target() -> None:
    """A second target with the same directory would count everything twice."""
    jobs = document(PROMETHEUS / "prometheus.yml")["scrape_configs"]
    assert [config["targets"] for job in jobs for config in job["static_configs"]] == [["web:8000"]]


def test_grafana_finds_its_files() -> None:
    """The data source is a service, and the dashboards are where they are mounted."""
    provisioning = ROOT / "grafana" / "provisioning"
    (source,) = document(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = document(provisioning / "dashboards" / "dashboards.yaml")["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in services()["grafana"]["volumes"]


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    """Promtool accepts prometheus.yml and its rules."""
    promtool = tool("promtool", "prometheus")
    shutil.copytree(PROMETHEUS, tmp_path, dirs_exist_ok=True)
    config, token = tmp_path / "prometheus.yml", tmp_path / "token"
    token.touch()  # promtool looks whether it is there
    config.write_text(config.read_text().replace("/tmp/metrics-token", str(token)))
    done = subprocess.run([promtool, "check", "config", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_accepts_its_configuration() -> None:
    """Amtool has no objection to alertmanager.yml."""
    command = [tool("amtool", "prometheus-alertmanager"), "check-config", str(PROMETHEUS / "alertmanager.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
