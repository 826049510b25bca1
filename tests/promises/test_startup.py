"""What the README promises a newcomer: clone, `make run`, paste the line that it prints. From a clone in an empty
folder, so that nothing left over in this checkout can help.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import CHECKOUT, free_port, post_tutorial, process, wait_until_live

pytestmark = [pytest.mark.startup, pytest.mark.timeout(1200)]

INSTALL_SECONDS = 600
# The checkout may belong to another user than the one who runs the tests.
GIT_TRUSTS_CHECKOUT = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newcomer") / "gradd"
    subprocess.run(
        ["git", "clone", "--quiet", "--no-hardlinks", str(CHECKOUT), str(folder)],
        env={**os.environ, **GIT_TRUSTS_CHECKOUT},
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def first_run(clone: Path) -> Iterator[tuple[str, Path]]:
    """`make run` in the clone, from nothing: the server's address and what was printed."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    log = clone.parent / "make-run.log"
    with process(["make", "run", f"PORT={port}"], cwd=clone, log=log) as running:
        wait_until_live(base_url, seconds=INSTALL_SECONDS, alive=lambda: running.poll() is None)
        yield base_url, log


def test_make_run_serves(first_run: tuple[str, Path]) -> None:
    base_url, _ = first_run
    post_tutorial(base_url)


def test_the_printed_curl_line_works_when_pasted(first_run: tuple[str, Path], tmp_path: Path) -> None:
    base_url, log = first_run
    printed = re.search(r"^\s*(curl .*?')$", log.read_text(), re.MULTILINE | re.DOTALL)
    assert printed, f"no curl line among what was printed:\n{log.read_text()}"
    assert base_url in printed[1]
    done = subprocess.run(
        ["bash", "-c", printed[1]], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert '"gradients"' in done.stdout


def test_a_second_run_installs_nothing(first_run: tuple[str, Path], clone: Path) -> None:
    plan = subprocess.run(["make", "--dry-run", "run"], cwd=clone, capture_output=True, text=True, check=True).stdout
    assert "pip" not in plan


def test_pipx_installs_the_command(clone: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "tools")], check=True)
    python = str(tmp_path / "tools" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "pipx"], check=True)
    places = {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    subprocess.run([python, "-m", "pipx", "install", str(clone)], env={**os.environ, **places}, check=True)
    done = subprocess.run([tmp_path / "bin" / "gradd", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("gradd ")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stopping_ends_with_status_zero(
    first_run: tuple[str, Path], clone: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    port = free_port()
    log = tmp_path / "serve.log"
    with process([".venv/bin/gradd", "serve", "--port", str(port)], cwd=clone, log=log) as running:
        wait_until_live(f"http://127.0.0.1:{port}", seconds=60, alive=lambda: running.poll() is None)
        running.send_signal(stop)
        assert running.wait(timeout=30) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
