"""Clients that generators make of the API's description compile, and run PyTorch's tutorial with right gradients."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from tests.serving import TUTORIAL_GRAPH, check_tutorial_gradients, server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
TYPESCRIPT = ["typescript@5", "@types/node@20"]
COMPILER = {
    "target": "es2022",
    "module": "nodenext",
    "moduleResolution": "nodenext",
    "strict": True,
    "skipLibCheck": True,
    "types": ["node"],
    "outDir": "out",
}


def run(*command: str | Path, cwd: Path, stdin: str = "", **environment: str) -> str:
    """Run a command to its end and return what it prints."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environment},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def need(*commands: str) -> None:
    for command in commands:
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("server") / "log") as url:
        yield url


@pytest.fixture
def description(tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(create_app().openapi()))
    return path


def openapi_generator(description: Path, language: str, output: str, **properties: str) -> None:
    """Make a client with openapi-generator, whose package brings the Java that it runs on."""
    given = ",".join(f"{name}={value}" for name, value in properties.items())
    options = ["--additional-properties", given] if given else []
    command: list[str | Path] = [
        BIN / "openapi-generator-cli",
        "generate",
        "-g",
        language,
        "-i",
        description,
        "-o",
        output,
    ]
    run(*command, *options, cwd=description.parent)


def go(description: Path) -> list[str | Path]:
    need("go")
    folder = description.parent
    openapi_generator(description, "go", "client", packageName="gradd", withGoMod="false", generateInterfaces="false")
    (folder / "client" / "go.mod").write_text("module gradd\n\ngo 1.18\n")
    (folder / "go.mod").write_text("module tutorial\n\ngo 1.18\n\nrequire gradd v0.0.0\n\nreplace gradd => ./client\n")
    shutil.copy(HERE / "tutorial.go", folder / "main.go")
    run("go", "build", "-o", "tutorial", ".", cwd=folder, GOFLAGS="-mod=mod", GOPROXY="off")
    return [folder / "tutorial"]


def typescript(folder: Path, program: str) -> list[str | Path]:
    """Compile a program that imports the client in `folder`."""
    shutil.copy(HERE / program, folder / "tutorial.ts")
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": COMPILER, "files": ["tutorial.ts"]}))
    run("npx", "--no-install", "tsc", cwd=folder)
    return ["node", folder / "out" / "tutorial.js"]


def npm(folder: Path, *packages: str) -> None:
    need("node", "npm")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    run("npm", "install", "--silent", "--no-audit", "--no-fund", *packages, cwd=folder)


def typescript_fetch(description: Path) -> list[str | Path]:
    folder = description.parent
    npm(folder, *TYPESCRIPT)
    openapi_generator(description, "typescript-fetch", "client", importFileExtension=".js")
    return typescript(folder, "tutorial_fetch.ts")


def hey_api(description: Path) -> list[str | Path]:
    folder = description.parent
    npm(folder, *TYPESCRIPT, "@hey-api/openapi-ts@0.95")
    (folder / "openapi-ts.config.mjs").write_text(
        'export default {input: "openapi.json", output: {path: "client", module: {extension: ".js"}}};'
    )
    run("npx", "--no-install", "openapi-ts", cwd=folder)
    return typescript(folder, "tutorial_hey.ts")


def python(description: Path) -> list[str | Path]:
    openapi_generator(description, "python", ".", packageName="gradd_client")
    shutil.copy(HERE / "tutorial_generator.py", description.parent / "tutorial.py")
    return [sys.executable, description.parent / "tutorial.py"]


def python_client(description: Path) -> list[str | Path]:
    folder = description.parent
    output = ["--output-path", "gradd_client", "--meta", "none"]
    run(BIN / "openapi-python-client", "generate", "--path", description, *output, cwd=folder)
    shutil.copy(HERE / "tutorial_client.py", folder / "tutorial.py")
    return [sys.executable, folder / "tutorial.py"]


@pytest.mark.parametrize("made", [go, typescript_fetch, hey_api, python, python_client])
def test_a_generated_client_runs_the_tutorial(
    made: Callable[[Path], list[str | Path]], description: Path, address: str
) -> None:
    program = made(description)
    printed = run(*program, address, cwd=description.parent, stdin=json.dumps(TUTORIAL_GRAPH))
    gradients: dict[str, Any] = json.loads(printed)
    check_tutorial_gradients(TUTORIAL_GRAPH, gradients)
