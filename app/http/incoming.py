"""The body of a request while it arrives. `app.http.protocol` makes an `Incoming` if head and body come apart."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.errors import ProblemError

ARRIVED = "gradd.arrived"
"""Key of a request's scope: a function for the number of bytes of its body that have arrived, if the body is large."""


class Incoming:
    """The incomplete body of one request. The application has not begun to read it.

    `problem` is what is wrong with the body. The request gets it as an exception while it reads.
    """

    problem: ProblemError | None = None

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self.cycle, self._wait = cycle, cycle.receive
        cycle.receive = self.receive  # type: ignore[method-assign]

    def fail(self, problem: ProblemError) -> None:
        """End the request with this problem, and the connection with the answer."""
        self.problem = problem
        self.cycle.keep_alive = False
        self.cycle.message_event.set()

    def drop(self) -> None:
        """Release the memory of the body after an answer before its end."""

    async def receive(self) -> Any:
        """Return the next message. Raises the problem."""
        message = await self._wait()
        if self.problem is not None and message["type"] == "http.request":
            raise self.problem
        return message
