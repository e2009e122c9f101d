"""What the server counts, in Prometheus' format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from serving.decoders import Decoders
from serving.doors import Doors

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
CLIPS = (1, 2, 4, 8, 16, 32, 64)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The numbers of one server."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter("tsn_requests", "requests answered", ["interface", "code"], registry=registry)
        self.upload_sec = Histogram("tsn_upload_seconds", "receiving a video", buckets=SECONDS, registry=registry)
        self.read_sec = Histogram("tsn_read_seconds", "decoding a video or window", buckets=SECONDS, registry=registry)
        self.model_sec = Histogram(
            "tsn_model_seconds", "waiting for the engine and its answer", buckets=SECONDS, registry=registry
        )
        self.batch_clips = Histogram("tsn_batch_clips", "clips of a micro-batch", buckets=CLIPS, registry=registry)
        self._sending = Gauge("tsn_sending", "requests that are being received", registry=registry)
        self._queue = Gauge("tsn_queue", "requests that wait or run", registry=registry)
        self._lost = Gauge("tsn_decoders_lost", "decoders that died or were killed", registry=registry)
        self._memory = Gauge("tsn_decoders_memory_bytes", "resident memory of the decoders", registry=registry)
        ProcessCollector(registry=registry)

    def watch(self, doors: Doors, decoders: Decoders) -> None:
        """Ask these, whenever the numbers are asked for."""
        self._sending.set_function(lambda: doors.num_sending)
        self._queue.set_function(lambda: doors.num_inside)
        self._lost.set_function(lambda: decoders.num_lost)
        self._memory.set_function(decoders.memory_bytes)

    def text(self) -> bytes:
        return generate_latest(self._registry)
