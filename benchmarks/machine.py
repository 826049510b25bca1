"""Description of the machine of a measurement: processor, cores, memory, and versions of the compared software."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("gradd", "numpy", "scipy", "torch", "jax", "autograd", "fastapi", "uvicorn", "pydantic", "tesseract-core")


def machine() -> str:
    """Return the description of the machine, one line."""
    words = dict(line.split(":", 1) for line in _lines("/proc/cpuinfo") if ":" in line)
    names = {key.strip(): value.strip() for key, value in words.items()}
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    cores = len(os.sched_getaffinity(0))
    return (
        f"{names.get('model name', platform.processor())}, {cores} cores, {memory / 2**20:.0f} GiB, {platform.system()}"
    )


def load() -> str:
    """Return the machine's load: the average number of processes that wanted a core in the last minute."""
    return f"load average {os.getloadavg()[0]:.1f}"


def versions() -> str:
    """Return the versions, one line."""
    return ", ".join([f"Python {platform.python_version()}", *filter(None, map(_version, PACKAGES))])


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()
