"""Collection, the server and the report. Tests that ask for `gradd` are collected for the ops that it offers alone;
OPS=softmax,max in the environment narrows every test of an op to those. Without PyTorch there is nothing to collect.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import server

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]

PROPERTY = "conformance"
REPORT = Path(__file__).parents[2] / "build" / "conformance.md"

_server = contextlib.ExitStack()
_running = pytest.StashKey[server.Gradd]()
_tallies = pytest.StashKey[list[dict[str, Any]]]()


def pytest_configure(config: pytest.Config) -> None:
    # Small tensors gain nothing from threads, and those of several test processes and servers get in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config.stash[_tallies] = []
    config.pluginmanager.register(_Collector(config.stash[_tallies]), "conformance-collector")


class _Collector:
    """Gathers what tests report, in the process that shows it, also where others run them."""

    def __init__(self, tallies: list[dict[str, Any]]) -> None:
        self.tallies = tallies

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.tallies += [value for name, value in report.user_properties if name == PROPERTY]  # type: ignore[misc]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = {name for name in os.environ.get("OPS", "").replace(",", " ").split() if name}
    needs_server = any("gradd" in getattr(item, "fixturenames", ()) for item in items)
    offered = _offered(config) if needs_server and not config.option.collectonly else None
    dropped = [item for item in items if not _is_selected(item, wanted, offered)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in set(dropped)]


def _offered(config: pytest.Config) -> frozenset[str]:
    """Return the ops that the server offers; none where it does not start, which the tests that ask for it then say."""
    try:
        return _start(config).offered
    except Exception:  # noqa: BLE001 (an exception while tests are collected would hide what it is)
        return frozenset()


def _is_selected(item: pytest.Item, wanted: set[str], offered: frozenset[str] | None) -> bool:
    op = getattr(item, "callspec", None) and item.callspec.params.get("op")  # type: ignore[attr-defined]
    if op is None:
        return not wanted or item.path.parent != Path(__file__).parent
    return (not wanted or op in wanted) and (
        offered is None or "gradd" not in item.fixturenames or op in offered  # type: ignore[attr-defined]
    )


def _start(config: pytest.Config) -> server.Gradd:
    if _running not in config.stash:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        REPORT.parent.mkdir(exist_ok=True)
        log = REPORT.with_name(f"conformance-server-{worker}.log")
        config.stash[_running] = _server.enter_context(server.gradd(log))
    return config.stash[_running]


@pytest.fixture(scope="session")
def gradd(request: pytest.FixtureRequest) -> server.Gradd:
    """The server under test."""
    return _start(request.config)


def pytest_unconfigure() -> None:
    _server.close()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.stash[_tallies]:
        return
    from tests.conformance.report import markdown, summary  # noqa: PLC0415 (these two need PyTorch)
    from tests.conformance.tally import Tally  # noqa: PLC0415

    tallies = [Tally.from_json(data) for data in config.stash[_tallies]]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(markdown(tallies) + "\n", encoding="utf-8")
    terminalreporter.section("agreement with PyTorch")
    terminalreporter.line(summary(tallies))
    terminalreporter.line(f"table: {REPORT}")
