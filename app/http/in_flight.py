"""The bytes of request bodies and of replies that the server holds, under one limit for all requests.

`app.http.middleware` reserves bytes for each body before it is read and for each reply before it is sent. The fast path
reserves none: its bodies and replies are small, and its replies wait for nobody.
"""

from __future__ import annotations

import threading
from collections import Counter

from app.errors import Busy

SMALL = 2**16
"""Bytes that each request may always hold, so that a full server still answers small requests, as those for health."""

RESERVATION = "gradd.reservation"
"""Key of a request's scope: its `Reservation`."""


class InFlight:
    """The bytes of all requests: `taken` of at most `most`, and at most `most_of_client` arriving from one address."""

    def __init__(self, most: int, most_of_client: int, retry_after_s: int) -> None:
        self.most, self.most_of_client = most, most_of_client
        self.taken = 0
        self._retry_after_s = retry_after_s
        self._arriving: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reservation(self, client: str) -> Reservation:
        """Return the reservation of a request, without bytes. `client` is the address that sends the body."""
        return Reservation(self, client)

    def change(self, reservation: Reservation, size: int, arriving: int) -> None:
        """Add bytes to a reservation, `arriving` of them for its body. Raises Busy."""
        with self._lock:
            client = reservation.client
            if reservation.is_released:
                raise self.busy("The request is over.")
            if reservation.taken + size > SMALL:
                if size > 0 and self.taken + size > self.most:
                    raise self.busy(f"Bodies and replies in flight would have more than {self.most} bytes.")
                if arriving > 0 and self._arriving[client] + arriving > self.most_of_client:
                    detail = f"Bodies that arrive from {client} would have more than {self.most_of_client} bytes."
                    raise self.busy(detail)
            reservation.taken += size
            reservation.arriving += arriving
            self.taken += size
            self._arriving[client] += arriving
            if self._arriving[client] <= 0:
                del self._arriving[client]

    def busy(self, detail: str) -> Busy:
        """Return the problem for a request that the server does not take now."""
        return Busy(detail, self._retry_after_s)


class Reservation:
    """The bytes of one request. Threads that decompress its body use it too. `is_replied`: its answer has begun."""

    def __init__(self, owner: InFlight, client: str) -> None:
        self.client = client
        self.taken = self.arriving = 0
        self.is_released = self.is_replied = False
        self._owner = owner

    def add(self, size: int) -> None:
        """Reserve bytes for a decompressed body or a reply. Raises Busy."""
        self._owner.change(self, size, 0)

    def expect(self, size: int) -> None:
        """Reserve bytes for a body that arrives. Raises Busy."""
        self._owner.change(self, size, size)

    def arrived(self) -> None:
        """The body is complete."""
        if self.arriving:
            self._owner.change(self, 0, -self.arriving)

    def release(self) -> None:
        """Give all bytes back."""
        self._owner.change(self, -self.taken, -self.arriving)
        self.is_released = True
