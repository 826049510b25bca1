"""A start with wrong settings names each of them in one line, all at once, and ends with status 2."""

import ctypes
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.graphs.store.store import Store
from app.settings import Settings
from app.startup import BadSettings, settings_of
from tests.serving import CHECKOUT, PATIENCE_S


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("GRADD_"):
            monkeypatch.delenv(name)


def lines_of(monkeypatch: pytest.MonkeyPatch, /, **environment: str) -> list[str]:
    """Return the messages for these variables, without the prefix in their names."""
    for name, value in environment.items():
        monkeypatch.setenv(f"GRADD_{name}", value)
    try:
        settings_of({}, serves=True)
    except BadSettings as error:
        return error.lines
    return []


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PORT", "70000", "it takes a whole number from 0 to 65535."),
        ("PORT", "x", "it takes a whole number from 0 to 65535."),
        ("PUBLISHED_PORT", "0", "it takes a whole number from 1 to 65535."),
        ("CONCURRENCY", "2.5", "it takes a whole number from 1 to 1024."),
        ("QUEUE", "-1", "it takes a whole number of at least 0."),
        ("MAX_BODY_BYTES", "1e9", "it takes a whole number of at least 1."),
        ("TIMEOUT_MS", "9" * 20, "it takes at most 9007199254740992."),
        ("INLINE_MS", "inf", "it takes a number of at least 0."),
        ("INLINE_MS", "nan", "it takes a number of at least 0."),
        ("DOCS", "perhaps", "it takes true or false."),
        ("LOG_FORMAT", "xml", "it takes json or console."),
        ("LOG_LEVEL", "INFORMATION", "it takes debug, info, warning or error."),
        ("CORS_ORIGINS", "https://a.example", 'it takes a JSON list of texts, as ["one", "two"].'),
        ("CORS_ORIGINS", "[1]", "1: Input should be a valid string."),
        ("TRUSTED_PROXIES", '["10.0.0.0/40"]', "'10.0.0.0/40': value is not a valid IPv4 or IPv6 network."),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    assert lines_of(monkeypatch, **{name: value}) == [f"GRADD_{name}={value}: {allowed}"]


@pytest.mark.parametrize("origin", ["https://a.example/", "a.example", "HTTPS://A.example", "https://u@a.example"])
def test_an_origin_that_no_browser_sends_is_refused(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    (line,) = lines_of(monkeypatch, CORS_ORIGINS=f'["{origin}"]')
    assert f"{origin!r} is no origin" in line


@pytest.mark.parametrize("origins", ["[]", '["*"]', '["https://a.example", "http://[::1]:80", "null"]'])
def test_origins_are_taken(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    assert lines_of(monkeypatch, CORS_ORIGINS=origins) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TIMEOUT", "Did you mean 'GRADD_TIMEOUT_MS'?"),
        ("max_body_byte", "Did you mean 'GRADD_MAX_BODY_BYTES'"),
        ("CORS_ORIGIN", "Did you mean 'GRADD_CORS_ORIGINS'?"),
        ("TELEPORTATION", "docs/settings.md lists the settings."),
    ],
)
def test_an_unknown_name_is_refused_with_its_neighbour(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    (line,) = lines_of(monkeypatch, **{name: "secret"})
    assert line.startswith(f"GRADD_{name.upper()} is not a setting. {hint}")
    assert "secret" not in line


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_a_known_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert lines_of(monkeypatch, **{name.upper(): ""}) == []  # an empty variable counts as one that is not set


def test_the_variables_of_containers_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [CHECKOUT / "Dockerfile", *CHECKOUT.glob("*.yml"), *CHECKOUT.glob("deploy/**/*.y*ml")]
    names = {name for path in files for name in re.findall(r"\bGRADD_\w+", path.read_text(encoding="utf-8"))}
    assert {"GRADD_STORE", "GRADD_TRUSTED_PROXIES"} <= names
    assert lines_of(monkeypatch, **{name.removeprefix("GRADD_"): "" for name in names}) == []


def test_variables_that_kubernetes_sets_for_a_service_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    links = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "80",
        "SERVICE_PORT_HTTP": "80",
        "PORT_80_TCP": "tcp://10.0.0.1:80",
        "PORT_80_TCP_ADDR": "10.0.0.1",
        "PROXY_PORT": "tcp://10.0.0.2:80",
    }
    assert lines_of(monkeypatch, **links) == []
    (line,) = lines_of(monkeypatch, PORT="tcp://10.0.0.1:80")
    assert "enableServiceLinks: false" in line


@pytest.mark.parametrize(
    ("larger", "smaller"),
    [
        ({"MAX_GRAPH_BYTES": "100"}, {"MAX_STORE_BYTES": "99"}),
        ({"MAX_MEMORY_BYTES": str(2**31)}, {"WORKER_MEMORY_BYTES": str(2**30)}),
        ({"INLINE_MS": "100"}, {"TIMEOUT_MS": "99"}),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, larger: dict[str, str], smaller: dict[str, str]
) -> None:
    assert lines_of(monkeypatch, **smaller) == []  # a default contradicts nothing
    (line,) = lines_of(monkeypatch, **larger)
    for name, value in {**larger, **smaller}.items():
        assert f"GRADD_{name}={value}" in line or f"GRADD_{name}={float(value)}" in line


def test_a_host_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    (line,) = lines_of(monkeypatch, HOST="nowhere.invalid")
    assert line.startswith("GRADD_HOST=nowhere.invalid: this host has no address (Name or service not known).")


@pytest.mark.parametrize("host", ["a" * 70, "a..b"])
def test_a_host_that_is_no_name_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    (line,) = lines_of(monkeypatch, HOST=host)
    assert line.startswith(f"GRADD_HOST={host}: this host has no address (")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("none/graphs.sqlite", "there is no folder "),
        ("folder", "it is a folder"),
        ("file/graphs.sqlite", "there is no folder "),
        ("file", "file is not a database"),
    ],
)
def test_a_store_that_does_not_open_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("These are no graphs. " * 100)
    store = tmp_path / path
    (line,) = lines_of(monkeypatch, STORE=str(store))
    assert line.startswith(f"GRADD_STORE: The store {store} cannot be opened: {reason}")


def test_a_password_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = lines_of(monkeypatch, STORE="mysql://user:secret@host/database")
    assert "mysql://user:***@host/database" in line


@pytest.mark.skipif(sys.platform != "linux", reason="the capabilities of root are Linux's")
@pytest.mark.parametrize("opened", ["file", "folder"])
def test_a_store_without_permission_is_refused(tmp_path: Path, opened: str) -> None:
    file = tmp_path / "graphs.sqlite"
    if opened == "file":
        store = Store(Settings(store=str(file)))
        store.check()
        store.close()
        file.chmod(0o444)
    else:
        tmp_path.chmod(0o555)
    done = _start({"GRADD_STORE": str(file)}, preexec_fn=_without_root_s_rights)
    tmp_path.chmod(0o755)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"GRADD_STORE: The store {file} cannot be opened: ")
    assert done.returncode == 2


def _without_root_s_rights() -> None:
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: they are gone after exec


def _start(environment: dict[str, str], *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", "serve", *arguments]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        **options,
    )


def test_all_faults_come_at_once_without_a_traceback(tmp_path: Path) -> None:
    wrong = {"GRADD_QUEUE": "many", "GRADD_TIMEOUT": "5", "GRADD_STORE": str(tmp_path), "GRADD_PORT": "1"}
    done = _start(wrong, "--port", "x", "--host", "a..b")
    assert (done.returncode, done.stdout) == (2, "")
    starts = ["--port x: ", "GRADD_QUEUE=many: ", "GRADD_TIMEOUT is not ", "--host a..b: ", "GRADD_STORE: "]
    lines = done.stderr.splitlines()
    assert len(lines) == len(starts)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start)


def test_metrics_on_the_service_s_own_port_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(monkeypatch, PORT="9000", METRICS_PORT="9000")
    assert lines == ["GRADD_METRICS_PORT=9000 is the service's own port; name another one."]
