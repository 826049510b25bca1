"""The address of the client of a request: the peer of its connection, or the address that a trusted proxy reports.

The middleware and the fast path call `ClientAddresses`. Without trusted proxies the headers are never read, because a
client can write any address into them. Sources: RFC 7239; X-Forwarded-For as nginx and HAProxy append to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

FORWARDED, X_FORWARDED_FOR = b"forwarded", b"x-forwarded-for"

_MAX_CHARACTERS = 4096
"""The longest header that is read. The address of the proxy is used in place of a longer one."""

_CACHED = 1024

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf"\s*({_TOKEN})=({_TOKEN}|{_QUOTED})\s*")
_ELEMENT = re.compile(rf"(?:{_QUOTED}|[^,\"])*")
_FIELD = re.compile(rf"(?:{_QUOTED}|[^;\"])*")
"""Parts of `Forwarded`. Source: RFC 7239, section 4."""

_WITH_PORT = re.compile(r"\[(?P<v6>[^\]]+)\](?::\w+)?|(?P<v4>[0-9.]+)(?::\w+)?")
"""An address with an optional port. An IPv6 address with a port is in brackets."""


class ClientAddresses:
    """Determines the addresses of clients. `trusted` has the networks of the trusted proxies."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = tuple(trusted)
        self._cached = lru_cache(_CACHED)(self._walked)

    def of(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the client's address. `peer` is the address of the connection; header names are in lower case."""
        if not self._trusted:
            return peer
        forwarded, forwarded_for = [], []
        for name, value in headers:
            if name == FORWARDED:
                forwarded.append(value.decode("latin-1"))
            elif name == X_FORWARDED_FOR:
                forwarded_for.append(value.decode("latin-1"))
        return self._cached(peer, ",".join(forwarded), ",".join(forwarded_for))

    def _walked(self, peer: str, forwarded: str, forwarded_for: str) -> str:
        """Return the address that the headers report.

        A proxy that writes one of the two headers passes the other as the client sent it. Therefore the peer's address
        is returned if the headers report different addresses.
        """
        if not self._is_trusted(_address(peer)):
            return peer
        reported = set()
        if forwarded:
            reported.add(self._last_untrusted(peer, _forwarded(forwarded)))
        if forwarded_for:
            reported.add(self._last_untrusted(peer, _forwarded_for(forwarded_for)))
        return reported.pop() if len(reported) == 1 else peer

    def _last_untrusted(self, peer: str, hops: Iterable[Address | None]) -> str:
        """Return the first untrusted address of `hops`, which begin with the nearest.

        Returns the last trusted address if an unreadable or hidden one follows it, or if all are trusted.
        """
        last = peer
        for hop in hops:
            if hop is None:
                break
            last = str(hop)
            if not self._is_trusted(hop):
                break
        return last

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _forwarded_for(header: str) -> Iterator[Address | None]:
    """Yield the addresses of X-Forwarded-For, from the nearest hop; None for one that is not an address."""
    if len(header) <= _MAX_CHARACTERS:
        yield from map(_address, reversed(header.split(",")))


def _forwarded(header: str) -> Iterator[Address | None]:
    """Yield the `for` addresses of Forwarded, from the nearest hop; None for one that is not an address."""
    if len(header) <= _MAX_CHARACTERS:
        for element in reversed(_split(header, _ELEMENT)):
            pairs = [_PAIR.fullmatch(pair) for pair in _split(element, _FIELD)]
            named = [pair[2] for pair in pairs if pair is not None and pair[1].lower() == "for"]
            yield _address(_unquoted(named[0])) if len(named) == 1 and None not in pairs else None


def _split(text: str, part: re.Pattern[str]) -> list[str]:
    """Return the parts of a list with one-character separators. A part that is not valid ends the list as it is."""
    found, at = [], 0
    while at <= len(text):
        matched = part.match(text, at)
        assert matched is not None  # it matches the empty string
        end = matched.end()
        if end < len(text) and text[end] == '"':  # a quoted string without an end
            end = len(text)
        found.append(text[at:end])
        at = end + 1
    return found


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _address(text: str) -> Address | None:
    """Return the address in the text, without its port, or None. An IPv4 address in IPv6 form is an IPv4 address."""
    found = _WITH_PORT.fullmatch(text.strip())
    try:
        address = ip_address((found["v6"] or found["v4"]) if found else text.strip())
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
