"""Run a target with atheris: `python -m tests.fuzz.run json_body 600`, the name and the seconds.

atheris mutates the seeds by the coverage of the code that it reaches. It ends with status 0 when the time is over, and
with another one at the first input that fails, which it writes to `build/fuzz/`. `python -m tests.fuzz.run json_body
FILE` runs such an input alone.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

import atheris

from tests.serving import CHECKOUT

FOUND = CHECKOUT / "build" / "fuzz"
MOST_BYTES = 2048
"""The longest input."""
MOST_MIB = 4096
SLOW_S = 60
"""Memory and time beyond which an input fails."""


def main(name: str, limit: str) -> None:
    """Run the target `name` for a number of seconds, or on one file."""
    with atheris.instrument_imports(include=["app", "engine"], enable_loader_override=False):
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(target.SEEDS):
            (corpus / f"{number:04}").write_bytes(seed)
        words = Path(folder, "words")
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.WORDS), encoding="ascii")
        what = [f"-max_total_time={limit}", str(corpus)] if limit.isdecimal() else [limit]
        options = [
            f"-artifact_prefix={FOUND}/{name}-",
            *([f"-dict={words}"] if target.WORDS else []),
            f"-max_len={MOST_BYTES}",
            f"-rss_limit_mb={MOST_MIB}",
            f"-timeout={SLOW_S}",
            "-print_final_stats=1",
        ]
        atheris.Setup([name, *options, *what], target.check)
        atheris.Fuzz()


def _escaped(word: str) -> str:
    """Return a word of a dictionary of libFuzzer."""
    return "".join(f"\\x{byte:02x}" for byte in word.encode("latin-1"))


if __name__ == "__main__":
    main(*sys.argv[1:])
