"""The command line answers as the server does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.__main__ import main
from app.evaluation.operations import OPERATIONS
from app.routes.examples.inline import EXAMPLES, TUTORIAL
from tests.app.client import Client
from tests.app.malformed import RIGHT
from tests.serving import PATIENCE_S


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_version(runner: CliRunner) -> None:
    assert runner.invoke(main, ["--version"]).stdout.startswith("gradd ")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_run_gives_the_server_s_answer(runner: CliRunner, client: Client, tmp_path: Path, operation: str) -> None:
    request = next(iter(EXAMPLES[operation].values()))["value"]
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request))
    done = runner.invoke(main, ["run", str(file), "--operation", operation])
    assert (done.exit_code, done.stdout) == (0, client.post(f"/v1/{operation}", request).text + "\n")


def test_run_is_for_gradients_unless_it_is_told_otherwise(runner: CliRunner, client: Client) -> None:
    done = runner.invoke(main, ["run", "-"], input=json.dumps(TUTORIAL))
    assert done.stdout == client.post("/v1/gradients", TUTORIAL).text + "\n"


def test_run_names_the_operations_that_there_are(runner: CliRunner) -> None:
    unknown = runner.invoke(main, ["run", "-", "--operation", "gradient"], input="{}")
    assert unknown.exit_code == 2
    assert "gradients" in unknown.stderr


def test_run_reads_standard_input(runner: CliRunner, client: Client) -> None:
    done = runner.invoke(main, ["run", "-"], input=json.dumps(RIGHT))
    assert json.loads(done.stdout) == client.post("/v1/gradients", RIGHT).json()


def test_run_refuses_with_a_problem_document(runner: CliRunner) -> None:
    done = runner.invoke(main, ["run", "-"], input='{"graph": {}}')
    assert (done.exit_code, done.stdout) == (1, "")
    assert json.loads(done.stderr)["errors"][0]["pointer"] == "#/graph/tensors"


def test_run_names_a_file_that_is_not_there(runner: CliRunner, tmp_path: Path) -> None:
    done = runner.invoke(main, ["run", str(tmp_path / "none.json")])
    assert done.exit_code == 1
    assert "No such file" in done.stderr


def test_a_store_that_is_another_program_s_file_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("These are no graphs. " * 100)
    command = [sys.executable, "-m", "app", "serve", "--port", "0"]
    environment = {**os.environ, "GRADD_STORE": str(file)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"GRADD_STORE: The store {file} cannot be opened: file is not a database.\n"


def test_ops(runner: CliRunner) -> None:
    assert "exp(input)" in runner.invoke(main, ["ops"]).stdout
    assert json.loads(runner.invoke(main, ["ops", "exp"]).stdout)["name"] == "exp"
    unknown = runner.invoke(main, ["ops", "expp"])
    assert unknown.exit_code == 1
    assert "'exp'" in unknown.stderr


def test_openapi(runner: CliRunner, client: Client) -> None:
    assert json.loads(runner.invoke(main, ["openapi"]).stdout) == client.get("/openapi.json").json()
