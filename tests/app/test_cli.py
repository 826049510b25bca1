"""The command line answers as the server does."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.__main__ import main
from app.routes.examples import TUTORIAL
from tests.app.client import Client
from tests.app.malformed import RIGHT


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_version(runner: CliRunner) -> None:
    assert runner.invoke(main, ["--version"]).stdout.startswith("gradd ")


@pytest.mark.parametrize("options", [[], ["--forward"]])
def test_run_gives_the_server_s_answer(runner: CliRunner, client: Client, tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(TUTORIAL))
    done = runner.invoke(main, ["run", str(file), *options])
    served = client.post("/v1/forward" if options else "/v1/gradients", TUTORIAL)
    assert (done.exit_code, done.stdout) == (0, served.text + "\n")


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


def test_ops(runner: CliRunner) -> None:
    assert "exp(input)" in runner.invoke(main, ["ops"]).stdout
    assert json.loads(runner.invoke(main, ["ops", "exp"]).stdout)["name"] == "exp"
    unknown = runner.invoke(main, ["ops", "expp"])
    assert unknown.exit_code == 1
    assert "'exp'" in unknown.stderr


def test_openapi(runner: CliRunner, client: Client) -> None:
    assert json.loads(runner.invoke(main, ["openapi"]).stdout) == client.get("/openapi.json").json()
