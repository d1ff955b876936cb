"""Who gets which message, in which order.

Everybody gets queue changes. A run's messages go to the socket of its client id; of a run without client id everybody
gets counters, previews and interruption, and nobody the rest: so it is in ComfyUI, and clients count on it.

Previews go to clients that announced that they understand them. ComfyUI makes none unless it is started with
`--preview-method`, and clients that were written for that take every picture on the socket for a result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from heliograph.graph.v1 import event_pb2 as events

from rest_bridge import messages
from rest_bridge.frames import Frame
from rest_bridge.sockets import Recipient, Sockets

# Counters: whoever was away is told the newest state by the next one.
_PASSING = frozenset({"progress", "node_states"})
_TO_EVERYBODY_WITHOUT_CLIENT = frozenset({"progress", "node_states", "preview", "interrupted"})


@dataclass
class _Active:
    """A run that has begun and not ended, as far as we saw."""

    client_id: str
    node_id: str = ""
    held: events.Preview | None = None


class Delivery:
    """Turns events into frames in outboxes. Synchronous: an event is delivered before the next is looked at."""

    def __init__(self, sockets: Sockets, *, legacy_previews: bool) -> None:
        self._sockets = sockets
        self._legacy_previews = legacy_previews
        self._active: dict[str, _Active] = {}
        self.remaining = 0
        self.changes = 0

    def active_runs(self) -> list[str]:
        """Runs whose end has not been seen yet."""
        return list(self._active)

    def node_of_client(self, client_id: str) -> str:
        """Node that a run of this client is at; empty: none."""
        nodes = [run.node_id for run in self._active.values() if run.client_id == client_id and run.node_id]
        return nodes[-1] if nodes else ""

    def queue_changed(self, remaining: int) -> None:
        """Tells everybody how many runs are unfinished."""
        self.remaining = remaining
        self.changes += 1
        self._send(self._sockets.everybody(), messages.status(remaining), passing=True)

    def handle(self, event: events.RunEvent) -> None:
        """Delivers one event."""
        kind = event.WhichOneof("event")
        if kind == "queue_changed":
            self.queue_changed(event.queue_changed.remaining)
            return
        if kind is None or not event.run_id:
            return
        run = self._active.setdefault(event.run_id, _Active(event.client_id))
        if kind == "executing":
            run.node_id = event.executing.node_id
        if kind == "preview":
            self._preview(event, run)
        else:
            self._message(event, kind, run)
        if kind == "ended":
            del self._active[event.run_id]

    def conclude(self, run_id: str, last_message: str | None) -> None:
        """Ends a run whose last events were lost: its stored last message, then the end mark, to its client."""
        run = self._active.pop(run_id, None)
        if run is not None and run.client_id:
            for text in filter(None, (last_message, messages.run_over(run_id))):
                self._send(self._sockets.of_client(run.client_id), text)

    def _message(self, event: events.RunEvent, kind: str, run: _Active) -> None:
        # A counter's picture comes after it for clients of the first protocol, before anything else of the run.
        held, run.held = run.held, None
        same_step = held is not None and kind == "progress" and event.progress.node_id == held.node_id
        if held is not None and not same_step:
            self._legacy_preview(event, held)
        audience = self._audience(event, kind)
        if audience:
            text = messages.of_event(event)
            if text is not None:
                self._send(audience, text, passing=kind in _PASSING)
        if held is not None and same_step:
            self._legacy_preview(event, held)

    def _preview(self, event: events.RunEvent, run: _Active) -> None:
        if event.preview.media_type == "text/plain":
            self._send(self._audience(event, "preview"), messages.node_text(event.preview), passing=True)
            return
        if run.held is not None:
            self._legacy_preview(event, run.held)
        run.held = event.preview
        audience = [each for each in self._audience(event, "preview") if each.preview_metadata]
        if audience:
            frame = messages.preview_with_metadata(event.run_id, event.preview)
            self._send(audience, frame, droppable=_is_preview(event.preview))

    def _legacy_preview(self, event: events.RunEvent, preview: events.Preview) -> None:
        if _is_preview(preview) and not self._legacy_previews:
            return
        audience = [each for each in self._audience(event, "preview") if not each.preview_metadata]
        if audience:
            self._send(audience, messages.legacy_preview(preview), droppable=_is_preview(preview))

    def _audience(self, event: events.RunEvent, kind: str) -> list[Recipient]:
        if event.client_id:
            return list(self._sockets.of_client(event.client_id))
        return list(self._sockets.everybody()) if kind in _TO_EVERYBODY_WITHOUT_CLIENT else []

    def _send(
        self, audience: Iterable[Recipient], payload: str | bytes, droppable: bool = False, passing: bool = False
    ) -> None:
        frame = Frame(payload, droppable, passing)
        for recipient in audience:
            recipient.put(frame)


def _is_preview(preview: events.Preview) -> bool:
    """Lossy pictures are previews and may be dropped; lossless ones are results that a node sends instead of saving."""
    return preview.media_type == "image/jpeg"
