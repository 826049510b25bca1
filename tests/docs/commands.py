"""The commands that the pages show, and who runs them: each is run by some suite, or is not shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.docs.markdown import PAGES, Block, blocks, prose

HERE = re.compile(r"curl |echo '|\.venv/bin/gradd (run|ops|openapi)\b")
"""The commands of bash blocks that `test_requests.py` runs."""

STARTUP = "tests/promises/test_startup.py"
CONTAINERS = "tests/containers/test_containers.py"
TUTORIAL = "tests/examples/test_tutorial.py"
REGISTERED = "tests/examples/test_registered.py"
DIGITS = "tests/examples/test_digits.py"
OWN = "tests/docs/test_commands.py"
CLI = "tests/app/test_cli.py"

CHECKED = (
    "test",
    "lint",
    "conformance",
    "examples",
    "browser",
    "clients",
    "containers",
    "startup",
    "postgres",
    "scale",
    "fuzz",
    "steps",
)
"""Tasks that `.ci/run` runs before a change is taken."""

ELSEWHERE: dict[str, tuple[str, str]] = {
    r"make run$": (STARTUP, '"make", "run"'),
    r"make run PORT=": (STARTUP, 'f"PORT={port}"'),
    r"GRADD_\w+=\S+ make run$": ("tests/app/test_settings.py", 'setenv("GRADD_'),
    **{rf"make {task}$": (".ci/run", f"make {task}") for task in CHECKED},
    r"make test ARGS=": (OWN, '"ARGS=-k tanh -x"'),
    r"make help$": (OWN, 'make("help")'),
    r"make clean$": (OWN, '"clean"'),
    r"make format$": (OWN, '"format"'),
    r"make soak( ARGS=|$)": (".ci/run", "make soak ARGS="),
    r"make bench( ARGS=|$)": (".ci/run", "make bench ARGS="),
    r"make \.venv/\.examples$": ("Makefile", "examples: .venv/.dev .venv/.examples"),
    r"docker compose up$": (CONTAINERS, '"compose", "up"'),
    r"GRADD_PORT=\d+ docker compose up$": (CONTAINERS, '"up", "--detach", "--no-build", GRADD_PORT=str(port)'),
    r"POSTGRES_PASSWORD=\S+ docker compose -f deploy/compose.scale.yml up$": (
        "tests/containers/test_compose_scale.py",
        'run("compose", "-f", "deploy/compose.scale.yml"',
    ),
    r"pipx install \.$": (STARTUP, '"pipx", "install", str(clone)'),
    r"docker build ": ("tests/containers/conftest.py", '"build", "--tag", "gradd", "."'),
    r"docker run ": (CONTAINERS, '"run", "--rm", "--read-only", "--tmpfs", "/tmp", "--publish"'),
    r"bash examples/tutorial/tutorial\.sh": (TUTORIAL, '"bash", str(TUTORIAL / "tutorial.sh")'),
    r"node examples/tutorial/tutorial\.mjs": (TUTORIAL, '"node", str(TUTORIAL / "tutorial.mjs")'),
    r"node examples/registered/train\.mjs": (REGISTERED, '["node", str(SCRIPT), gradd]'),
    r"java examples/tutorial/Tutorial\.java": (TUTORIAL, '"java", str(TUTORIAL / "Tutorial.java")'),
    r"rustc --edition 2021 .*examples/tutorial/tutorial\.rs": (TUTORIAL, '"rustc", "--edition", "2021"'),
    r"\.venv/bin/python -m examples\.digits ": (DIGITS, '"-m", "examples.digits"'),
    r"gradd serve\b": (STARTUP, '".venv/bin/gradd", "serve"'),
    r"gradd --version$": (CLI, '"--version"'),
    r"gradd keys (add|list|remove)\b": ("tests/app/access/test_keys.py", 'main, ["keys", arguments[0], "--file"'),
    **{rf"gradd {command}\b": (CLI, f'"{command}"') for command in ("run", "ops", "openapi")},
}
"""What a command begins with, the file that runs it, and how it stands there."""

_INLINE = re.compile(
    r"`((?:GRADD_\w+=\S+ )?(?:make|docker|git|pipx|bash|node|java|rustc|curl|gradd|\.venv/bin/\w+) [^`]+)`"
)


def command_lines(block: Block) -> Iterator[str]:
    """Yield the commands of a bash block, without comments; a command goes on while a quote or a backslash is open."""
    command = ""
    for line in block.text.splitlines():
        command += line
        if command.endswith("\\"):
            command = command[:-1]
        elif command.count("'") % 2:
            command += "\n"
        else:
            stripped = re.sub(r"\s+#\s[^']*$", "", command).strip()
            if stripped and not stripped.startswith("#"):
                yield stripped
            command = ""
    assert not command, f"{block}: a command has no end"


def shown() -> list[tuple[str, str]]:
    """Return every command that a page shows, in a block or between the words, with where it stands."""
    listed = [
        (block, list(command_lines(block))) for page in PAGES for block in blocks(page) if block.language == "bash"
    ]
    in_blocks = [(str(block), line) for block, lines in listed for line in lines if not HERE.match(line)]
    inline = [(page.name, line) for page in PAGES for line in _INLINE.findall(prose(page))]
    return sorted(set(in_blocks + inline))
