"""The image and the compose file as an operator uses them: built from this checkout, started, asked, inspected from
inside and stopped. `CONTAINERS` names the container runner: any command that has docker's `build`, `run` and
`compose`.
"""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.containers.runner import run, runner
from tests.serving import CHECKOUT, free_port, post_tutorial, process, wait_until_live

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]

GRACE_SECONDS = 45

# What the process finds around it, told by the interpreter that is in every image.
INSPECTION = """
import json, os, shutil, tempfile

status = dict(line.rstrip().split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(json.dumps({
    "uid": os.getuid(),
    "gid": os.getgid(),
    "root_read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
    "temporary_folder": tempfile.mkdtemp(),
    "compilers": [name for name in ("cc", "gcc", "g++", "clang", "ld", "as", "make") if shutil.which(name)],
    "capabilities": int(status["CapEff"], 16),
    "no_new_privileges": int(status["NoNewPrivs"]),
}))
"""

# The image's health check, with no server and then with one: the statuses that it ended with.
HEALTH = """
import json, subprocess, sys, time

check = json.loads(sys.argv[1])
before = subprocess.call(check, stderr=subprocess.DEVNULL)
server = subprocess.Popen(["gradd", "serve", "--port", "8000"], stdout=sys.stderr)
end = time.monotonic() + 60
while (after := subprocess.call(check, stderr=subprocess.DEVNULL)) and time.monotonic() < end:
    time.sleep(0.2)
server.terminate()
server.wait()
print(json.dumps({"before": before, "after": after}))
"""


def inspect(*arguments: str) -> dict[str, Any]:
    """Run something that prints one line of JSON; runners print lines of their own around it."""
    printed = run(*arguments).splitlines()
    found: dict[str, Any] = json.loads(next(line for line in reversed(printed) if line.startswith("{")))
    return found


def dockerfile_health_check() -> list[str]:
    text = (CHECKOUT / "Dockerfile").read_text().replace("\\\n", "")
    found = re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)
    assert found, "the Dockerfile has no HEALTHCHECK"
    command: list[str] = json.loads(found[1])
    return command


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def service(image: str, port: int) -> Iterator[str]:
    """The service as docker-compose.yml describes it, up and answering."""
    run("compose", "up", "--detach", "--no-build", GRADD_PORT=str(port))
    try:
        base_url = f"http://127.0.0.1:{port}"
        wait_until_live(base_url, seconds=120)
        yield base_url
    finally:
        run("compose", "down", GRADD_PORT=str(port))


@pytest.fixture(scope="module")
def inside(image: str) -> dict[str, Any]:
    """What a process finds that runs as docker-compose.yml says."""
    return inspect("compose", "run", "--rm", "-T", "--entrypoint", "python", "gradd", "-c", INSPECTION)


def test_the_service_answers_the_tutorial(service: str) -> None:
    post_tutorial(service)


def test_the_health_check_tells_a_live_server_from_none(image: str) -> None:
    check = json.dumps(dockerfile_health_check())
    found = inspect(
        "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--entrypoint", "python", image, "-c", HEALTH, check
    )
    assert found["before"] != 0
    assert found["after"] == 0


def test_the_process_is_not_root(inside: dict[str, Any]) -> None:
    assert inside["uid"] == inside["gid"] == 10001


def test_the_root_is_read_only_and_the_temporary_folder_is_not(inside: dict[str, Any]) -> None:
    assert inside["root_read_only"]
    assert inside["temporary_folder"].startswith("/tmp/")


def test_the_process_has_no_privileges(inside: dict[str, Any]) -> None:
    assert inside["capabilities"] == 0
    assert inside["no_new_privileges"] == 1


def test_the_image_has_no_compiler(inside: dict[str, Any]) -> None:
    assert inside["compilers"] == []


def test_registered_graphs_outlive_the_container(service: str, port: int) -> None:
    graph = {"tensors": {"x": [1.0, 2.0]}, "ops": [{"op": "exp", "inputs": ["x"], "output": "y"}]}
    known = httpx.post(f"{service}/v1/graphs", json={"graph": graph}, trust_env=False, timeout=30)
    assert known.status_code in {200, 201}, known.text
    run("compose", "down", GRADD_PORT=str(port))
    run("compose", "up", "--detach", "--no-build", GRADD_PORT=str(port))
    wait_until_live(service, seconds=120)
    path = f"{service}/v1/graphs/{known.json()['id']}"
    assert httpx.get(path, trust_env=False, timeout=30).json()["created"] == known.json()["created"]
    assert httpx.delete(path, trust_env=False, timeout=30).status_code == 204


def test_stop_ends_within_the_grace_period(service: str, port: int) -> None:
    start = time.monotonic()
    run("compose", "stop", GRADD_PORT=str(port))
    assert time.monotonic() - start < GRACE_SECONDS


def test_run_serves_without_compose_and_ends_with_status_zero(image: str, tmp_path: Path) -> None:
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    command = runner("run", "--rm", "--read-only", "--tmpfs", "/tmp", "--publish", f"127.0.0.1:{port}:8000", image)
    log = tmp_path / "run.log"
    with process(command, cwd=CHECKOUT, log=log) as running:
        wait_until_live(base_url, seconds=120, alive=lambda: running.poll() is None)
        post_tutorial(base_url)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=GRACE_SECONDS) == 0, log.read_text()
