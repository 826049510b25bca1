"""The container runner that `CONTAINERS` names: any command that has docker's `build`, `run` and `compose`."""

import os
import shlex
import subprocess

from tests.serving import CHECKOUT


def runner(*arguments: str) -> list[str]:
    return [*shlex.split(os.environ.get("CONTAINERS", "docker")), *arguments]


def run(*arguments: str, **environment: str) -> str:
    """Run the container runner to its end and give what it printed; fail with all it said."""
    done = subprocess.run(
        runner(*arguments),
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(done.args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
