"""The compose files: what they deny a container, that no secret is in them, and that both run the service alike."""

import re
from typing import Any

import pytest
import yaml

from app.settings import Settings
from tests.serving import CHECKOUT

SCALE = "deploy/compose.scale.yml"
ONE = "docker-compose.yml"


def services(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHECKOUT / name).read_text(encoding="utf-8"))["services"]
    return found


OWN_BYTES = 2**29
"""Memory of the server and the fork server for their code, and of a registration that is read."""

CONTAINERS = [(name, service) for name in (ONE, SCALE) for service in services(name)]


@pytest.mark.parametrize(("name", "service"), CONTAINERS)
def test_a_container_has_no_privileges_and_is_bounded(name: str, service: str) -> None:
    found = services(name)[service]
    assert found["read_only"]
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit", "cpus", "healthcheck", "stop_grace_period", "restart"} <= found.keys()
    # The image of gradd has its own user.
    assert service == "gradd" or found["user"] not in {"root", "0", "0:0"}


@pytest.mark.parametrize(("name", "service"), CONTAINERS)
def test_only_the_loopback_is_published_and_only_by_the_front(name: str, service: str) -> None:
    ports = services(name)[service].get("ports", [])
    assert bool(ports) == (service == ("gradd" if name == ONE else "nginx"))
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_database_is_reached_by_the_replicas_alone() -> None:
    networks = {name: set(service["networks"]) for name, service in services(SCALE).items()}
    assert networks["postgres"] & networks["gradd"] == {"store"}
    assert not networks["postgres"] & networks["nginx"]
    assert networks["nginx"] & networks["gradd"]


def test_passwords_come_from_the_environment_and_are_demanded() -> None:
    given = [
        str(value)
        for service in services(SCALE).values()
        for variable, value in service.get("environment", {}).items()
        if "PASSWORD" in variable
    ]
    assert len(given) == 2
    assert all(re.fullmatch(r"\$\{POSTGRES_PASSWORD:\?.+\}", value) for value in given)


def test_a_replica_is_run_as_the_single_service() -> None:
    one, replica = services(ONE)["gradd"], services(SCALE)["gradd"]
    differs = {name for name in one.keys() | replica.keys() if name != "build" and one.get(name) != replica.get(name)}
    assert differs == {"ports", "volumes", "environment", "deploy", "networks", "depends_on"}
    assert one["build"]["args"] == replica["build"]["args"]


@pytest.mark.parametrize("name", [ONE, SCALE])
def test_every_variable_is_a_setting(name: str) -> None:
    variables = services(name)["gradd"]["environment"]
    known = {f"GRADD_{field.upper()}" for field in Settings.model_fields}
    assert {variable for variable in variables if variable != "PGPASSWORD"} <= known


@pytest.mark.parametrize(("name", "service"), [(ONE, "gradd"), (SCALE, "gradd"), (SCALE, "nginx")])
def test_calls_under_way_may_finish(name: str, service: str) -> None:
    grace = int(services(name)[service]["stop_grace_period"].removesuffix("s"))
    settings = Settings()
    assert grace > max(settings.stop_timeout_s, settings.timeout_ms / 1000)


@pytest.mark.parametrize("name", [ONE, SCALE])
def test_what_the_settings_allow_fits_into_the_memory(name: str) -> None:
    service = services(name)["gradd"]
    given: dict[str, Any] = {
        variable.removeprefix("GRADD_").lower(): value
        for variable, value in service["environment"].items()
        if isinstance(value, int)
    }
    settings = Settings(**given)
    assert service["cpus"] == settings.concurrency
    workers = settings.concurrency * settings.worker_memory_bytes
    server = settings.max_bytes_in_flight + 2 * settings.cached_plan_bytes + settings.cached_graph_bytes
    assert workers + server + OWN_BYTES <= int(service["mem_limit"].removesuffix("g")) * 2**30
    assert settings.max_memory_bytes < settings.worker_memory_bytes
