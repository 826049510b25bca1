"""The compose file of several replicas, as the container runner reads it."""

import pytest

from tests.containers.runner import run

pytestmark = pytest.mark.containers

VARIABLE = "POSTGRES_PASSWORD"


def test_the_runner_reads_it() -> None:
    shown = run("compose", "-f", "deploy/compose.scale.yml", "config", **{VARIABLE: "a p@ss/word"})
    assert shown.count("a p@ss/word") == 2
    assert "nginx.conf" in shown


def test_it_demands_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(AssertionError, match=f"{VARIABLE}.* set {VARIABLE} to a password"):
        run("compose", "-f", "deploy/compose.scale.yml", "config")
