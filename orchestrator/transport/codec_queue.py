"""The queue as a message: what was encoded for the last listing is used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heliograph.graph.v1 import run_service_pb2 as pb

from orchestrator.runs.records import RunRecord

_KEPT_BYTES = 64 * 1024
"""A larger run is encoded each time; a message of its own would double what the queue takes."""


class EncodedQueue:
    """Keeps no more than the last listing."""

    def __init__(self, encode: Callable[[RunRecord], pb.Run]) -> None:
        self._encode = encode
        self._kept: dict[str, tuple[RunRecord, pb.Run]] = {}

    def queue(self, running: Sequence[RunRecord], pending: Sequence[RunRecord], version: str) -> pb.ListQueueResponse:
        """All of them."""
        before, self._kept = self._kept, {}

        def encoded(run: RunRecord) -> pb.Run:
            known = before.get(run.run_id)
            message = known[1] if known is not None and known[0] is run else self._encode(run)
            if run.bytes <= _KEPT_BYTES:
                self._kept[run.run_id] = run, message
            return message

        return pb.ListQueueResponse(
            running=map(encoded, running), pending=map(encoded, pending),
            running_count=len(running), pending_count=len(pending), version=version,
        )  # fmt: skip
