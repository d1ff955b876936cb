"""OpenTelemetry spans and metrics. Off unless `start` was called: then a span costs one comparison.

Names of spans, attributes and metrics are constants here and nowhere else; prompt text never becomes an attribute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal

from kit.errors import InvalidRequest

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Counter, Histogram, Meter
    from opentelemetry.trace import Span, Tracer

Exporter = Literal["off", "otlp", "console"]

SPAN_RPC: Final = "heliograph.rpc"
SPAN_RUN: Final = "heliograph.run"
SPAN_NODE: Final = "heliograph.node"
SPAN_MODEL_CALL: Final = "heliograph.model_call"
SPAN_PREPARE: Final = "heliograph.prepare"
SPANS: Final = frozenset({SPAN_RPC, SPAN_RUN, SPAN_NODE, SPAN_MODEL_CALL, SPAN_PREPARE})

ATTRIBUTES: Final[Mapping[str, str]] = {
    "run_id": "heliograph.run.id",
    "attempt": "heliograph.run.attempt",
    "state": "heliograph.run.state",
    "node_id": "heliograph.node.id",
    "node_type": "heliograph.node.type",
    "cached": "heliograph.node.cached",
    "servable": "heliograph.servable.id",
    "arch": "heliograph.servable.arch",
    "component": "heliograph.servable.component",
    "endpoint": "heliograph.servable.endpoint",
    "batch": "heliograph.tensor.batch",
    "payload_bytes": "heliograph.tensor.bytes",
    "shared_memory": "heliograph.tensor.shared_memory",
    "step": "heliograph.sampling.step",
    "method": "rpc.method",
    "rpc_status": "rpc.grpc.status_code",
    "reason": "heliograph.error.reason",
    "worker_id": "heliograph.worker.id",
}
"""Keyword of `span`/`record` to attribute name; anything else is refused."""

METRICS: Final[Mapping[str, tuple[str, str]]] = {
    "heliograph.runs.submitted": ("counter", "1"),
    "heliograph.runs.ended": ("counter", "1"),
    "heliograph.runs.lost_leases": ("counter", "1"),
    "heliograph.queue.wait": ("histogram", "s"),
    "heliograph.run.duration": ("histogram", "s"),
    "heliograph.node.duration": ("histogram", "s"),
    "heliograph.model_call.duration": ("histogram", "s"),
    "heliograph.commit.duration": ("histogram", "s"),
}
"""Metric name to (instrument, unit)."""

AttributeValue = str | bool | int | float


class _Switch:
    """What `start` switched on; one per process, as OpenTelemetry itself."""

    def __init__(self) -> None:
        self.tracer: Tracer | None = None
        self.meter: Meter | None = None
        self.instruments: dict[str, Counter | Histogram] = {}
        self.providers: list[Any] = []


_SWITCH: Final = _Switch()
_OFF: AbstractContextManager[None] = nullcontext()


def start(service: str, exporter: Exporter = "off", endpoint: str = "") -> None:
    """Switches spans and metrics on. `endpoint`: host:port of an OTLP/gRPC collector (empty: OpenTelemetry's own).

    "off" does nothing and imports nothing.
    """
    if exporter == "off":
        return
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    resource = Resource.create({"service.name": f"heliograph-{service}"})
    spans: Any = ConsoleSpanExporter()
    metrics: Any = ConsoleMetricExporter()
    if exporter == "otlp":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        spans = OTLPSpanExporter(endpoint=endpoint or None, insecure=True)
        metrics = OTLPMetricExporter(endpoint=endpoint or None, insecure=True)
    traces = TracerProvider(resource=resource)
    traces.add_span_processor(BatchSpanProcessor(spans))
    measures = MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(metrics)])
    _SWITCH.tracer, _SWITCH.meter = traces.get_tracer("heliograph"), measures.get_meter("heliograph")
    _SWITCH.providers = [traces, measures]


def start_with(tracer: Tracer) -> None:
    """Switches spans on with a tracer of the caller's (an in-memory exporter in a test)."""
    _SWITCH.tracer = tracer


def stop() -> None:
    """Flushes what is buffered and switches off."""
    for provider in _SWITCH.providers:
        provider.shutdown()
    _SWITCH.tracer, _SWITCH.meter, _SWITCH.instruments, _SWITCH.providers = None, None, {}, []


def enabled() -> bool:
    """True between `start` and `stop`."""
    return _SWITCH.tracer is not None


def span(name: str, parent: Context | None = None, **attributes: AttributeValue) -> AbstractContextManager[Any]:
    """A span around a block; exceptions are recorded on it. Keywords are those of ATTRIBUTES."""
    if _SWITCH.tracer is None:
        return _OFF
    if name not in SPANS:
        raise InvalidRequest("span name is not in the table", name=name)
    return _SWITCH.tracer.start_as_current_span(name, context=parent, attributes=_named(attributes))


def span_apart(name: str, parent: Context | None = None, **attributes: AttributeValue) -> AbstractContextManager[Any]:
    """A span that does not become the current one: for generators, whose body may be resumed in another context."""
    if _SWITCH.tracer is None:
        return _OFF
    if name not in SPANS:
        raise InvalidRequest("span name is not in the table", name=name)
    return _ending(_SWITCH.tracer.start_span(name, context=parent, attributes=_named(attributes)))


def record(metric: str, value: float, **attributes: AttributeValue) -> None:
    """Adds to a counter or records into a histogram of METRICS."""
    if _SWITCH.meter is None:
        return
    instrument = _SWITCH.instruments.get(metric)
    if instrument is None:
        kind, unit = METRICS[metric]
        make = _SWITCH.meter.create_counter if kind == "counter" else _SWITCH.meter.create_histogram
        instrument = _SWITCH.instruments[metric] = make(metric, unit=unit)
    named = _named(attributes)
    if METRICS[metric][0] == "counter":
        instrument.add(value, named)  # type: ignore[union-attr]  # METRICS says which it is
    else:
        instrument.record(value, named)  # type: ignore[union-attr]  # METRICS says which it is


def run_context(run_id: str) -> Context | None:
    """A parent context derived from the run id, so that every process puts a run's spans into one tree. None: off."""
    if _SWITCH.tracer is None:
        return None
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    digest = hashlib.blake2b(run_id.encode(), digest_size=24).digest()
    trace_id, span_id = int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:], "big")
    context = SpanContext(trace_id or 1, span_id or 1, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(context))


def outgoing() -> tuple[tuple[str, str], ...]:
    """Call metadata that carries the current span to the callee; empty when off."""
    if _SWITCH.tracer is None:
        return ()
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return tuple(carrier.items())


def incoming(metadata: Iterable[tuple[str, str | bytes]]) -> Context | None:
    """The caller's context out of call metadata. None: off."""
    if _SWITCH.tracer is None:
        return None
    from opentelemetry.propagate import extract

    return extract({key: value for key, value in metadata if isinstance(value, str)})


def trace_id() -> str:
    """Hex id of the current trace; empty when off."""
    if _SWITCH.tracer is None:
        return ""
    from opentelemetry.trace import format_trace_id, get_current_span

    return format_trace_id(get_current_span().get_span_context().trace_id)


@contextmanager
def _ending(span: Span) -> Iterator[Span]:
    try:
        yield span
    finally:
        span.end()


def _named(attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    unknown = attributes.keys() - ATTRIBUTES.keys()
    if unknown:
        raise InvalidRequest("attribute is not in the table", names=sorted(unknown))
    return {ATTRIBUTES[key]: value for key, value in attributes.items()}
