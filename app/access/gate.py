"""Checks of the headers Host and Origin, which keep web pages of other sites away from the service.

A web page can send requests to every address that its browser reaches, the loopback included. Two headers identify such
requests. Origin is the origin of the page. Host is the name in the URL: after DNS rebinding, the requests of a page of
evil.example that resolves to 127.0.0.1 have the Host evil.example. Pages cannot set these headers.
Sources: RFC 9110, sections 7.2 and 15.5.20 (421); Fetch standard, section 3.2; W3C Fetch Metadata, section 2.

`app.access.middleware` and the fast path call `Gate.check`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from app.errors import ForeignOrigin, UnknownHost
from app.settings import Settings

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,255})(?::[0-9]{0,5})?", re.IGNORECASE)
"""A host and an optional port. Source: RFC 3986, section 3.2."""

_RESERVED = (".localhost", ".local", ".internal", ".home.arpa", ".svc")
"""Domains that nobody can register, for names in a private network and in Kubernetes.

Sources: RFC 6761, RFC 6762, RFC 8375, ICANN board resolution 2024.07.29.06.
"""

_OF_TESTS = {"localhost", "test", "testserver"}
"""Names that always are the service's own: those that test clients send without a network. RFC 6761 reserves two."""


class Gate:
    """The host names by which clients may call the service, and the origins of the web pages that may.

    An address in place of a name cannot result from DNS rebinding. Neither can a name without a dot or in a reserved
    domain, because no DNS server outside the network answers for it.
    """

    def __init__(self, settings: Settings) -> None:
        given = [name.lower().rstrip(".") for name in settings.allowed_hosts]
        self._any = "*" in given
        self._domains = tuple(name[1:] for name in given if name.startswith("*."))
        self._names = {*_OF_TESTS, *given}
        self._is_local: Callable[[str], bool] = _is_loopback
        if not _is_loopback(settings.host):
            self._is_local = _is_internal
            self._names |= {settings.host.lower(), socket.gethostname().lower()}
        self._origins = frozenset(origin.lower() for origin in settings.cors_origins)

    def check(self, hosts: Sequence[str], origin: str, site: str) -> None:
        """Check the Host headers, the Origin and Sec-Fetch-Site. Raises UnknownHost, ForeignOrigin.

        A client that is no browser may leave each of them out.
        """
        for host in hosts:
            if not (self._any or self._is_known(host)):
                detail = f"The service has no name {_shown(host)}."
                raise UnknownHost(detail)
        if origin and not (site == "same-origin" or self._is_own(origin.lower(), hosts)):
            raise ForeignOrigin(f"A page of the origin {_shown(origin)} may not call the service.")

    def _is_known(self, host: str) -> bool:
        found = _AUTHORITY.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower().rstrip(".")
        return name in self._names or name.endswith(self._domains) or self._is_local(name)

    def _is_own(self, origin: str, hosts: Sequence[str]) -> bool:
        """Whether the origin is the service's own, or is one of `cors_origins`."""
        scheme, _, authority = origin.partition("://")
        is_same = scheme in {"http", "https"} and any(authority == host.lower() for host in hosts)
        return is_same or origin in self._origins or "*" in self._origins


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return name == "localhost" or name.endswith(".localhost") if address is None else address.is_loopback


def _is_internal(name: str) -> bool:
    """Whether the name is an address, or a name that no public DNS server answers for."""
    return "." not in name or name.endswith(_RESERVED) or _address(name) is not None


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _shown(header: str) -> str:
    return repr(header[:100])
