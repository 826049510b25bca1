"""The address of the client is that of its connection, or the one that a trusted proxy reports."""

from ipaddress import ip_network

import orjson
import pytest

from app.http.client_address import ClientAddresses
from app.main import create_app
from app.routes.examples.inline import TUTORIAL
from app.settings import Settings
from tests.app.http.test_shortcut import GRADIENTS, LEAVE, post
from tests.app.listening import listening

TRUSTED = [ip_network(network) for network in ("10.0.0.0/8", "::1/128", "2001:db8:1::/48")]
PROXY = "10.0.0.1"

REPORTED = {
    "no header": ({}, PROXY),
    "one hop": ({"x-forwarded-for": "192.0.2.1"}, "192.0.2.1"),
    "a forged hop before it": ({"x-forwarded-for": "203.0.113.9, 192.0.2.1"}, "192.0.2.1"),
    "trusted hops after it": ({"x-forwarded-for": "203.0.113.9, 192.0.2.1 ,10.1.1.1,\t10.2.2.2"}, "192.0.2.1"),
    "trusted hops alone": ({"x-forwarded-for": "10.3.3.3, 10.2.2.2"}, "10.3.3.3"),
    "a port": ({"x-forwarded-for": "192.0.2.1:4711"}, "192.0.2.1"),
    "IPv6": ({"x-forwarded-for": "2001:db8::5"}, "2001:db8::5"),
    "IPv6 in another spelling": ({"x-forwarded-for": "2001:DB8:0::5"}, "2001:db8::5"),
    "IPv6 with a port": ({"x-forwarded-for": "[2001:db8::5]:80"}, "2001:db8::5"),
    "IPv4 as IPv6": ({"x-forwarded-for": "::ffff:192.0.2.1"}, "192.0.2.1"),
    "a name": ({"x-forwarded-for": "192.0.2.1, localhost"}, PROXY),
    "a name after a trusted hop": ({"x-forwarded-for": "192.0.2.1, x, 10.2.2.2"}, "10.2.2.2"),
    "nothing": ({"x-forwarded-for": ""}, PROXY),
    "an empty element": ({"x-forwarded-for": "192.0.2.1,"}, PROXY),
    "too many hops": ({"x-forwarded-for": "10.2.2.2," * 1000 + "192.0.2.1"}, PROXY),
    "Forwarded": ({"forwarded": "for=192.0.2.1"}, "192.0.2.1"),
    "Forwarded, in full": (
        {"forwarded": 'for=203.0.113.9, For="[2001:db8::5]:4711" ; proto=http;by=10.0.0.1, for=10.2.2.2'},
        "2001:db8::5",
    ),
    "a separator in quotes": ({"forwarded": 'for=192.0.2.1;host="a, for=203.0.113.9;b"'}, "192.0.2.1"),
    "a quote in quotes": ({"forwarded": r'for=192.0.2.1;host="\", for=203.0.113.9"'}, "192.0.2.1"),
    "a quote without an end": ({"forwarded": 'for=192.0.2.1;host=", for=203.0.113.9'}, PROXY),
    "a hidden hop": ({"forwarded": "for=192.0.2.1, for=_hidden"}, PROXY),
    "an unknown hop": ({"forwarded": "for=unknown"}, PROXY),
    "no hop": ({"forwarded": "proto=https"}, PROXY),
    "two addresses of one hop": ({"forwarded": "for=192.0.2.1;for=203.0.113.9"}, PROXY),
    "no pair": ({"forwarded": "192.0.2.1"}, PROXY),
    "both, of one opinion": ({"forwarded": "for=192.0.2.1", "x-forwarded-for": "192.0.2.1"}, "192.0.2.1"),
    "both, of two": ({"forwarded": "for=203.0.113.9", "x-forwarded-for": "192.0.2.1"}, PROXY),
}


def address(peer: str, headers: dict[str, str], trusted: bool = True) -> str:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    return ClientAddresses(TRUSTED if trusted else []).of(peer, sent)


@pytest.mark.parametrize("name", REPORTED)
def test_a_trusted_proxy_reports_the_client(name: str) -> None:
    headers, expected = REPORTED[name]
    assert address(PROXY, headers) == expected


@pytest.mark.parametrize("name", REPORTED)
def test_nobody_else_does(name: str) -> None:
    headers, _ = REPORTED[name]
    assert address("192.0.2.77", headers) == "192.0.2.77"
    assert address(PROXY, headers, trusted=False) == PROXY
    assert address("", headers) == ""


def test_several_lines_are_one_list() -> None:
    lines = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-for", b"::1")]
    assert ClientAddresses(TRUSTED).of("::ffff:10.0.0.1", lines) == "192.0.2.1"


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize(("trusted", "expected"), [([], "127.0.0.1"), (["127.0.0.0/8"], "192.0.2.1")])
def test_the_log_has_it(shortcut: bool, trusted: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings.model_validate({"trusted_proxies": trusted})
    with listening(create_app(settings), shortcut=shortcut) as found:
        found.exchange(post(GRADIENTS, TUTORIAL, "X-Forwarded-For: 203.0.113.9, 192.0.2.1"), LEAVE)
        found.exchange(b"no HTTP\r\n\r\n")
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["client"] for line in lines] == [expected, "127.0.0.1", "127.0.0.1"]
