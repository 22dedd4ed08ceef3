"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("multigraft_requests", "Requests by path and status.", ("path", "status"),
                                 registry=self._registry)  # fmt: skip
        self._request_seconds = Histogram("multigraft_request_seconds", "Seconds from a request to its response.",
                                          ("path",), buckets=_SECONDS, registry=self._registry)  # fmt: skip
        self._batch_size = Histogram("multigraft_batch_size", "Questions answered together.", ("kind",),
                                     buckets=_SIZES, registry=self._registry)  # fmt: skip
        self._batch_seconds = Histogram("multigraft_batch_seconds", "Seconds to answer a batch.", ("kind",),
                                        buckets=_SECONDS, registry=self._registry)  # fmt: skip
        self._waiting = Gauge("multigraft_waiting", "Questions in the queue.", ("kind",), registry=self._registry)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request. path: one of few, or the number of counters has no end."""
        self._requests.labels(path, str(status)).inc()
        self._request_seconds.labels(path).observe(seconds)

    def batch(self, kind: str, size: int, seconds: float) -> None:
        """Count a batch of `size` questions."""
        self._batch_size.labels(kind).observe(size)
        self._batch_seconds.labels(kind).observe(seconds)

    def watch(self, kind: str, waiting: Callable[[], float]) -> None:
        """Report the length of a queue, which is asked for when it is wanted."""
        self._waiting.labels(kind).set_function(waiting)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
