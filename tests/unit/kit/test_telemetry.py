from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kit import telemetry
from kit.errors import InvalidRequest


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry.start_with(provider.get_tracer("test"))
    yield exporter
    telemetry.stop()


def test_off_costs_no_import() -> None:
    code = "import sys, kit.telemetry as t; t.start('x'); t.span(t.SPAN_NODE); print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_names_come_from_the_tables(exported: InMemorySpanExporter) -> None:
    with telemetry.span(telemetry.SPAN_NODE, node_id="3", node_type="KSampler"):
        pass
    (span,) = exported.get_finished_spans()
    assert span.attributes == {"heliograph.node.id": "3", "heliograph.node.type": "KSampler"}
    with pytest.raises(InvalidRequest):
        telemetry.span(telemetry.SPAN_NODE, prompt_text="no")
    with pytest.raises(InvalidRequest):
        telemetry.span("heliograph.other")


def test_spans_of_one_run_share_a_trace_whoever_makes_them(exported: InMemorySpanExporter) -> None:
    for name in (telemetry.SPAN_RUN, telemetry.SPAN_NODE):
        with telemetry.span(name, telemetry.run_context("run-1"), run_id="run-1"):
            pass
    first, second = exported.get_finished_spans()
    assert first.context.trace_id == second.context.trace_id
    assert first.parent.span_id == second.parent.span_id


def test_context_travels_in_call_metadata(exported: InMemorySpanExporter) -> None:
    with telemetry.span(telemetry.SPAN_RUN):
        metadata = telemetry.outgoing()
    with telemetry.span_apart(telemetry.SPAN_RPC, telemetry.incoming(metadata), method="/x/y"):
        pass
    run, rpc = exported.get_finished_spans()
    assert rpc.parent.span_id == run.context.span_id
