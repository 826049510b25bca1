"""nginx has the limits of the service's settings, and its errors are problem documents of the service."""

import re

from app import errors
from app.errors import ProblemError
from app.settings import Settings
from tests.serving import CHECKOUT

TEXT = (CHECKOUT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
SETTINGS = Settings(store=None)
UNITS = {"": 1, "k": 2**10, "m": 2**20}


def directive(name: str, *, of: str = TEXT) -> str:
    """Return the arguments of a directive that occurs once."""
    (found,) = re.findall(rf"^\s*{name} (.+);$", of, re.MULTILINE)
    return str(found)


def seconds(name: str, *, of: str = TEXT) -> float:
    return float(directive(name, of=of).removesuffix("s"))


def size(written: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([km]?)", written).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def block(name: str) -> str:
    """Return the text of a block, up to its closing brace."""
    found = re.search(rf"^( *){re.escape(name)} {{\n(.*?)^\1}}", TEXT, re.MULTILINE | re.DOTALL)
    assert found, name
    return found[2]


def table(name: str) -> dict[str, str]:
    """Return a `map` of nginx."""
    rows = re.findall(r"^\s+(\w+) (?:\"(.*)\"|(\w+));$", block(f"map {name}"), re.MULTILINE)
    return {key: quoted or word for key, quoted, word in rows if key != "default"}


def test_sizes_are_those_of_the_settings() -> None:
    assert size(directive("client_max_body_size")) == SETTINGS.max_body_bytes
    buffers, each = directive("large_client_header_buffers").split()
    # Every request that gradd accepts fits, a line of the most bytes too.
    assert size(each) >= SETTINGS.max_header_bytes
    assert int(buffers) >= 2


def test_times_are_in_accord_with_the_settings() -> None:
    assert seconds("client_header_timeout") * 1000 == SETTINGS.header_timeout_ms
    assert seconds("client_body_timeout") * 1000 < SETTINGS.body_timeout_ms
    # gradd answers 504 first.
    assert seconds("proxy_read_timeout") * 1000 > SETTINGS.timeout_ms
    # A call that hung on one replica may be sent to another.
    assert seconds("proxy_next_upstream_timeout") > seconds("proxy_read_timeout")
    # nginx closes idle connections first.
    assert seconds("keepalive_timeout", of=block("upstream gradd")) < SETTINGS.idle_timeout_s


def test_a_body_is_whole_before_it_is_sent_and_sent_again_elsewhere() -> None:
    assert directive("proxy_request_buffering") == "on"
    retried = set(directive("proxy_next_upstream").split())
    assert {"error", "timeout", "http_502", "http_503", "non_idempotent"} <= retried
    # Another replica has no more time and no other answer.
    assert not retried & {"http_504", "http_500", "http_429", "http_404"}
    assert directive("proxy_next_upstream_tries") == "2"


def test_an_error_of_nginx_is_one_of_the_service() -> None:
    problems = {
        kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ProblemError)
    }
    codes = table("$status $code")
    titles, hints, details = (table(f"$code ${name}") for name in ("title", "hint", "detail"))
    assert codes.keys() == {"400", "404", "413", "431", "503", "504"}
    assert titles.keys() == hints.keys() == details.keys() == set(codes.values())
    for status, code in codes.items():
        kind = problems[code]
        assert (int(status), titles[code], hints[code]) == (kind.status, kind.title, kind.hint)


def test_no_error_of_nginx_is_without_a_problem() -> None:
    answered = {status for line in re.findall(r"error_page (.+) /\.problem;", TEXT) for status in line.split()}
    assert {"400", "404", "413", "414", "494", "500", "502", "503", "504"} <= answered


def test_the_body_is_valid_json_whatever_the_client_sends() -> None:
    # The only variable with the client's bytes has no quote and no backslash.
    accepted = re.search(r'"~\^(\[.+\]\+)\$" \$http_x_request_id;', block("map $http_x_request_id $gradd_request_id"))
    assert accepted
    assert not re.search(accepted[1], '"\\ \n')
