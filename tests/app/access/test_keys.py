"""API keys: the file, the commands that write it, and requests with and without a key, on both ways of answering."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from app.__main__ import main
from app.access import key_file
from app.access.control import Access, Claims
from app.access.key_file import UnusableKeyFile
from app.access.permissions import OPEN, Permission, needed
from app.errors import Unauthenticated
from app.main import create_app
from app.settings import Settings
from app.startup import BadSettings, settings_of
from tests.app.bodies import sum_of_exp
from tests.app.client import client_of
from tests.app.listening import Listening, listening

ALL = [permission.value for permission in Permission]
FILE = CliRunner()


def gradd(*arguments: str, file: Path) -> Any:
    return FILE.invoke(main, ["keys", arguments[0], "--file", str(file), *arguments[1:]])


def made(file: Path, name: str, *options: str) -> str:
    result = gradd("add", name, *options, file=file)
    assert result.exit_code == 0, result.stderr
    key: str = result.stdout.strip()
    return key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_made_listed_and_removed(file: Path) -> None:
    key = made(file, "one")
    made(file, "two", "--permission", "metrics", "--quota", "calls=100/minute", "--quota", "graphs=10")
    assert key.startswith("gradd_")
    assert len(key) == 49
    assert key not in file.read_text()
    assert json.loads(file.read_text())["keys"][0]["hash"] == key_file.hash_of(key)
    rows = [line.split("\t")[:3] for line in gradd("list", file=file).stdout.splitlines()]
    assert rows == [["one", "delete,evaluate,read,register", ""], ["two", "metrics", "calls=100/minute graphs=10"]]
    assert gradd("remove", "one", file=file).exit_code == 0
    assert [key.name for key in key_file.read(file).keys] == ["two"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "one"], "there is a key one; `gradd keys remove one` removes it."),
        (["add", "a b"], "name: String should match pattern"),
        (["add", "two", "--quota", "calls=100"], "calls: it is no rate as 100/minute"),
        (["add", "two", "--quota", "graphs"], "graphs: Input should be a valid integer"),
        (["add", "two", "--quota", "call=1/day"], "call: Extra inputs are not permitted."),
        (["remove", "two"], "there is no key two."),
    ],
)
def test_a_command_that_fails_says_why_in_one_line_and_changes_nothing(
    file: Path, arguments: list[str], message: str
) -> None:
    made(file, "one")
    before = file.read_bytes()
    result = gradd(*arguments, file=file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert (file.read_bytes(), list(file.parent.iterdir())) == (before, [file])


HASH = f"sha256-{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the file: Invalid JSON"),
        ("[]", "the file: Input should be an object."),
        ('{"key": []}', "key: Extra inputs are not permitted."),
        ({"keys": [{"name": "a"}]}, "keys/0/hash: Field required."),
        ({"keys": [{"name": "a", "hash": "gradd_secret"}]}, "keys/0/hash: it is no hash"),
        ({"keys": [{"name": "", "hash": HASH}]}, "keys/0/name: "),
        ({"keys": [{"name": "a", "hash": HASH, "permissions": ["all"]}]}, "keys/0/permissions/0: Input should be"),
        ({"keys": [{"name": n, "hash": HASH} for n in "ab"]}, "two keys have the same hash: a, b."),
        ({"keys": [{"name": "a", "hash": h} for h in (HASH, HASH[:-1] + "1")]}, "two keys have the same name: a."),
    ],
)
def test_a_wrong_file_is_named_in_one_line_without_its_values(file: Path, text: Any, message: str) -> None:
    file.write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(UnusableKeyFile) as raised:
        key_file.read(file)
    assert str(raised.value).startswith(f"{file}: {message}")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_changes_is_read_again_and_a_wrong_one_is_not(file: Path) -> None:
    first = made(file, "one")
    access = Access(Settings(keys_file=file))
    keys = access.keys
    assert keys is not None
    second = made(file, "two")
    with pytest.raises(Unauthenticated):
        keys.authenticated(f"Bearer {second}")
    keys.reload()
    assert keys.authenticated(f"bearer  {second}").name == "two"
    good = file.read_bytes()
    for wrong in (b"{", b"", None):
        file.unlink() if wrong is None else file.write_bytes(wrong)
        with capture_logs() as logs:
            keys.reload()
        assert [line["event"] for line in logs] == ["key file is not usable, the last keys stay"]
        assert keys.authenticated(f"Bearer {first}").name == "one"
    file.write_bytes(good)
    gradd("remove", "one", file=file)
    keys.reload()
    with pytest.raises(Unauthenticated):
        keys.authenticated(f"Bearer {first}")


def test_a_running_server_notices_changes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.access.keys._LOOK_S", 0.01)
    first = made(file, "one")
    with client_of(create_app(Settings(keys_file=file))) as client:

        def is_known(key: str) -> bool:
            return client.get("/v1/limits", headers={"Authorization": f"Bearer {key}"}).status_code == 200

        second = made(file, "two")
        assert is_known(first)
        while not is_known(second):
            pass
        gradd("remove", "one", file=file)
        while is_known(first):
            pass
        assert is_known(second)


@pytest.mark.parametrize("text", [None, "{"])
def test_a_server_does_not_start_with_a_wrong_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("GRADD_KEYS_FILE", str(file))
    with pytest.raises(BadSettings) as raised:
        settings_of({}, serves=True)
    (line,) = raised.value.lines
    assert line.startswith(f"GRADD_KEYS_FILE: {file}: ")


def resources() -> list[tuple[str, str]]:
    paths: dict[str, dict[str, Any]] = create_app().openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


@pytest.mark.parametrize(("method", "path"), [*resources(), ("GET", "/docs"), ("GET", "/docs/docs.js"), ("GET", "/")])
def test_every_resource_has_its_row(method: str, path: str) -> None:
    assert OPEN.fullmatch(path) or needed(method, path) in {None, *Permission}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    found = {name: made(file, name, "--permission", name) for name in ALL}
    found["usual"] = made(file, "usual")
    return {**found, "": str(file)}


@pytest.fixture(scope="module", params=[True, False], ids=["shortcut", "general"])
def served(request: pytest.FixtureRequest, keys: dict[str, str]) -> Iterator[Listening]:
    with listening(create_app(Settings(concurrency=4, keys_file=keys[""])), shortcut=request.param) as found:
        yield found


BODY = orjson.dumps(sum_of_exp(dag=False))
GRAPH = orjson.dumps({"graph": sum_of_exp()["graph"]})
LEAVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def asked(served: Listening, request: str, authorization: str | None, body: bytes = b"") -> tuple[int, bytes]:
    """Return the status and the answer of a request."""
    lines = [f"{request} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [] if authorization is None else [f"Authorization: {authorization}"]
    reply = served.exchange("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, LEAVE)
    answer = reply.rpartition(b"HTTP/1.1 ")[0]
    return int(answer[9:12]), answer


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic {usual}",
        "{usual}",
        "Bearer {usual}x",
        "Bearer {usual} x",
        "é",
    ],
)
def test_without_a_known_key_nothing_but_health_is_answered(
    served: Listening, keys: dict[str, str], authorization: str | None
) -> None:
    given = None if authorization is None else authorization.format(usual=keys["usual"])
    for request, body in (
        ("POST /v1/forward", BODY),
        ("POST /v1/graphs", GRAPH),
        ("GET /v1/limits", b""),
        ("GET /metrics", b""),
        ("GET /docs", b""),
        ("GET /nope", b""),
        ("PUT /v1/forward", b""),
    ):
        status, answer = asked(served, request, given, body)
        assert (status, answer.partition(b'"code":')[2][:17]) == (401, b'"unauthenticated"'), request
        assert b"\r\nwww-authenticate: Bearer" in answer
    assert asked(served, "GET /health/ready", given)[0] == 200


def test_two_keys_are_none(served: Listening, keys: dict[str, str]) -> None:
    both = f"Bearer {keys['usual']}\r\nAuthorization: Bearer {keys['usual']}"
    assert asked(served, "POST /v1/forward", both, BODY)[0] == 401


@pytest.mark.parametrize("name", [*ALL, "usual"])
def test_a_key_may_do_what_its_permissions_say(served: Listening, keys: dict[str, str], name: str) -> None:
    held = {Permission(name)} if name in ALL else set(Permission) - {Permission.METRICS}
    for permission, request, body in (
        (Permission.EVALUATE, "POST /v1/forward", BODY),
        (Permission.EVALUATE, "POST /v1/graphs/sha256-0/forward", b"{}"),
        (Permission.REGISTER, "POST /v1/graphs", GRAPH),
        (Permission.READ, "GET /v1/graphs/sha256-0", b""),
        (Permission.DELETE, "DELETE /v1/graphs/sha256-0", b""),
        (Permission.METRICS, "GET /metrics", b""),
        (None, "GET /v1/limits", b""),
        (None, "GET /v1/ops/exp", b""),
        (None, "GET /docs", b""),
    ):
        status, answer = asked(served, request, f"Bearer {keys[name]}", body)
        may = permission is None or permission in held
        assert (status in {200, 201, 404}) == may, (request, answer)
        if not may:
            assert (status, answer.partition(b'"code":')[2][:11]) == (403, b'"forbidden"')
            assert b"insufficient_scope" in answer
    assert asked(served, "GET /nope", f"Bearer {keys[name]}")[0] == 404
    assert asked(served, "PUT /v1/forward", f"Bearer {keys[name]}")[0] == 405


def test_a_removed_key_is_refused_by_both_ways(served: Listening, keys: dict[str, str]) -> None:
    file = Path(keys[""])
    found = served.services.access_control.keys
    assert found is not None
    key = made(file, "short")
    found.reload()
    served.taken.clear()
    assert [asked(served, "POST /v1/forward", f"Bearer {key}", BODY)[0] for _ in range(3)] == [200] * 3
    gradd("remove", "short", file=file)
    found.reload()
    assert asked(served, "POST /v1/forward", f"Bearer {key}", BODY)[0] == 401


def test_the_log_has_the_name_of_the_key_and_never_the_key(
    served: Listening, keys: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    served.services.access.flush()
    capsys.readouterr()
    asked(served, "POST /v1/forward", f"Bearer {keys['usual']}", BODY)
    asked(served, "POST /v1/forward", "Bearer gradd_wrong", BODY)
    asked(served, f"GET /v1/ops/exp?key={keys['usual']}", f"Bearer {keys['usual']}")
    served.services.access.flush()
    log = capsys.readouterr().err
    lines = [orjson.loads(line) for line in log.splitlines()]
    assert [line.get("key") for line in lines if line["path"] != "/health/live"] == ["usual", None, "usual"]
    assert keys["usual"] not in log
    assert "gradd_wrong" not in log


def test_the_description_has_the_scheme(keys: dict[str, str]) -> None:
    scheme: dict[str, list[str]] = {"key": []}
    for settings, security in ((Settings(), [{}, scheme]), (Settings(keys_file=keys[""]), [scheme])):
        described = create_app(settings).openapi()
        assert described["security"] == security
        assert described["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
        assert described["paths"]["/health/live"]["get"]["security"] == []
        assert {"401", "403", "421", "429"} <= described["paths"]["/v1/forward"]["post"]["responses"].keys()


def test_a_request_without_headers_has_no_key(keys: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated, match="has no key"):
        Access(Settings(keys_file=keys[""])).identified("/v1/forward", Claims())
