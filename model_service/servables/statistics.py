"""Counts and durations of calls by servable, in KServe's terms: success, fail, queue, input, inference, output."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Duration:
    """How often, and how many nanoseconds in all."""

    count: int = 0
    ns: int = 0

    def plus(self, ns: int) -> Duration:
        return Duration(self.count + 1, self.ns + ns)


@dataclass(frozen=True)
class CallTimes:
    """One successful call, nanoseconds: waiting (for memory and for the processor), decoding, running, encoding."""

    queue_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int


@dataclass(frozen=True)
class CallCounts:
    """Calls of one servable since the server started. `inferences` counts batch items, `last_ms` is Unix time."""

    inferences: int = 0
    executions: int = 0
    last_ms: int = 0
    success: Duration = field(default=Duration())
    fail: Duration = field(default=Duration())
    queue: Duration = field(default=Duration())
    compute_input: Duration = field(default=Duration())
    compute_infer: Duration = field(default=Duration())
    compute_output: Duration = field(default=Duration())


class Statistics:
    """Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, CallCounts] = {}

    def succeeded(self, servable_id: str, batch: int, times: CallTimes) -> None:
        """Record an answered call of `batch` items."""
        total = times.queue_ns + times.input_ns + times.infer_ns + times.output_ns
        with self._lock:
            old = self._counts.get(servable_id, CallCounts())
            self._counts[servable_id] = replace(
                old,
                inferences=old.inferences + batch,
                executions=old.executions + 1,
                last_ms=time.time_ns() // 1_000_000,
                success=old.success.plus(total),
                queue=old.queue.plus(times.queue_ns),
                compute_input=old.compute_input.plus(times.input_ns),
                compute_infer=old.compute_infer.plus(times.infer_ns),
                compute_output=old.compute_output.plus(times.output_ns),
            )

    def failed(self, servable_id: str, ns: int) -> None:
        """Record a call that ended with an error after `ns` nanoseconds."""
        with self._lock:
            old = self._counts.get(servable_id, CallCounts())
            self._counts[servable_id] = replace(old, fail=old.fail.plus(ns))

    def all(self) -> Mapping[str, CallCounts]:
        """A copy of everything."""
        with self._lock:
            return dict(self._counts)

    def of(self, servable_id: str) -> CallCounts:
        """Counts of one servable; zeros where it was never called."""
        with self._lock:
            return self._counts.get(servable_id, CallCounts())
