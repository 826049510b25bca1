"""The objects shared by all requests of one application.

`app.main` creates them. Routes and the server get them with `services_of`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from app.access.control import Access
from app.evaluation.evaluator import Evaluator
from app.graphs.expiry import Expiry
from app.graphs.registered import RegisteredGraphs
from app.graphs.store.store import Store
from app.http.caller import Callers
from app.http.client_address import ClientAddresses
from app.http.exchange import in_progress
from app.http.in_flight import InFlight
from app.http.middleware import Slots
from app.http.state_metrics import StateMetrics
from app.settings import Settings
from app.telemetry.logs import AccessLog
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing, tracing_of
from app.telemetry.watchdog import EventLoopWatchdog
from app.workers.dispatch import Dispatcher
from app.workers.pool import Workers
from app.workers.shared_memory import Segments
from app.workers.threads import ThreadPool

_LOOKUPS = 4
"""Number of threads for short store queries. The queries do not wait for registrations, which take seconds."""


class Readiness:
    """Whether the service is ready for requests. It is not ready while it starts or stops."""

    def __init__(self) -> None:
        self.is_ready = False


@dataclass(frozen=True, slots=True)
class Services:
    """The shared objects of one application."""

    settings: Settings
    metrics: Metrics
    watchdog: EventLoopWatchdog
    access: AccessLog
    tracing: Tracing
    callers: Callers
    access_control: Access
    readiness: Readiness
    slots: Slots
    in_flight: InFlight
    store: Store
    graphs: RegisteredGraphs
    expiry: Expiry
    evaluator: Evaluator
    pool: ThreadPool
    lookups: ThreadPool
    segments: Segments
    dispatcher: Dispatcher

    @classmethod
    def create(cls, settings: Settings) -> Services:
        """Create the objects with these settings. Raises UnusableTracing.

        No process or thread runs before `start`, except the thread that exports spans.
        """
        tracing = tracing_of(settings)
        store = Store(settings)
        graphs = RegisteredGraphs(store, settings)
        evaluator = Evaluator(settings, graphs)
        in_flight = InFlight(settings.max_bytes_in_flight, settings.max_client_bytes_in_flight, settings.retry_after_s)
        metrics = Metrics()
        workers = Workers(settings.model_copy(update={"store": store.location}), store.temporary, metrics.waited)
        slots = Slots(settings.concurrency + settings.queue, settings.retry_after_s)
        metrics.add(StateMetrics(slots, workers, evaluator))
        metrics.bytes_in_flight.set_function(lambda: in_flight.taken)
        return cls(
            settings=settings,
            metrics=metrics,
            watchdog=EventLoopWatchdog(metrics, in_progress),
            access=AccessLog(settings),
            tracing=tracing,
            callers=Callers(ClientAddresses(settings.trusted_proxies), tracing),
            access_control=Access(settings),
            readiness=Readiness(),
            slots=slots,
            in_flight=in_flight,
            store=store,
            graphs=graphs,
            expiry=Expiry(store, settings.graph_ttl_s),
            evaluator=evaluator,
            pool=ThreadPool(settings.concurrency),
            lookups=ThreadPool(_LOOKUPS),
            segments=Segments(settings.max_body_bytes),
            dispatcher=Dispatcher(evaluator, graphs, workers, settings),
        )

    def start(self) -> None:
        """Start the worker processes, and set the service ready. Call it on the event loop."""
        self.dispatcher.workers.start()
        self.access_control.start()
        self.expiry.start()
        self.readiness.is_ready = True

    def close(self) -> None:
        """Set the service not ready, end the workers, and release all resources. Call it on the event loop."""
        self.readiness.is_ready = False
        self.watchdog.stop()
        self.access_control.stop()
        self.expiry.stop()
        self.pool.close()
        self.lookups.close()
        self.store.close()  # before the fork server, which removes the temporary store after a kill
        self.dispatcher.workers.close()
        self.segments.close()
        self.access.flush()
        self.tracing.close()


def services_of(app: FastAPI) -> Services:
    """Return the shared objects of an application made by `app.main.create_app`."""
    services: Services = app.state.services
    return services
