"""The spans that OpenTelemetry exports in a test."""

from __future__ import annotations

from functools import cache
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind


@cache
def provided() -> InMemorySpanExporter:
    """Make the tracer provider. A process has only one, and no other test traces."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


class Spans:
    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @property
    def call(self) -> ReadableSpan:
        """The one client span."""
        (span,) = [span for span in self.all if span.kind is SpanKind.CLIENT]
        return span

    def attempts_of(self, span: ReadableSpan) -> list[Any]:
        """Return the status, or the reason, of each attempt below `span`."""
        below = [each for each in self.all if each.parent and each.parent.span_id == span.context.span_id]
        found = [dict(each.attributes or {}) for each in below if each.name == "attempt"]
        return [each.get("http.response.status_code", each.get("error.type")) for each in found]
