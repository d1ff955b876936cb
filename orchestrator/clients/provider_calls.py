"""Calls of a provider's nodes: values out, progress and one outcome back, errors told as what they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from heliograph.graph.v1 import node_provider_pb2 as pb

from kit.errors import (
    Busy,
    HeliographError,
    Internal,
    InvalidRequest,
    NotFound,
    Stopped,
    TooSlow,
    Unready,
    Unsupported,
)
from kit.node_values import Incoming, Outgoing, packed, unchanged
from kit.status import from_rpc_error
from kit.telemetry import outgoing
from orchestrator.clients.provider_link import ProviderLink
from orchestrator.clients.provider_lists import MAX_NODES, ForeignNode
from orchestrator.clients.provider_values import CallValues, as_ours, handle_lost
from orchestrator.graph.kinds import Json
from orchestrator.graph.spec import NodeOutput
from orchestrator.ports import Ctx, ForeignError, PreviewImage

_MAX_PREVIEW_BYTES = 8 << 20
_MAX_UI_BYTES = 1 << 20
_MAX_TEXT = 20_000
_MAX_LINES = 200
_MAX_FINGERPRINT = 64 << 10
_PICTURES = ("image/jpeg", "image/png")


@dataclass(frozen=True)
class Deadlines:
    """Seconds: of a node, and of the short questions about one."""

    node_s: float
    check_s: float


class ProviderCalls:
    """Calls to one provider."""

    def __init__(self, link: ProviderLink, deadlines: Deadlines) -> None:
        self._link = link
        self._deadlines = deadlines

    async def execute(self, ctx: Ctx, node: ForeignNode, inputs: Mapping[str, object]) -> NodeOutput:
        """Runs it; being cancelled cancels it there. Raises ForeignError, Unready, TooSlow, InvalidRequest, Stopped."""
        holder = self._link.require(node.spec.id)
        values = CallValues(self._link, holder, node.spec, inputs)
        call, out = await self._packed(ctx, node, inputs, values, holder)
        incoming = Incoming(values.inward, receipt=True)
        stream = self._link.stub.Execute(
            _parts(pb.ExecuteRequest, call, out), timeout=self._deadlines.node_s, metadata=outgoing()
        )
        try:
            with self._explained(node, self._deadlines.node_s):
                async for answer in stream:
                    match answer.WhichOneof("part"):
                        case "progress":
                            _advance(ctx, answer.progress)
                        case "chunk":
                            incoming.take(answer.chunk)
                        case "error":
                            self._fail(node, answer.error)
                        case "result":
                            return await asyncio.to_thread(self._result, node, values, incoming, answer.result)
                        case "expansion":
                            return await asyncio.to_thread(self._expansion, node, values, incoming, answer.expansion)
            raise Internal(
                "a node provider ended a call without an outcome", reason="PROVIDER_ANSWER",
                node_type=node.spec.id, provider=self._link.address,
            )  # fmt: skip
        finally:
            stream.cancel()
            incoming.close()
            out.close()

    async def check_lazy(self, ctx: Ctx, node: ForeignNode, inputs: Mapping[str, object]) -> list[str]:
        """Names of lazy inputs that the node needs."""
        holder = self._link.require(node.spec.id)
        values = CallValues(self._link, holder, node.spec, inputs)
        call, out = await self._packed(ctx, node, inputs, values, holder)
        try:
            with self._explained(node, self._deadlines.check_s):
                answer = await self._link.stub.CheckLazy(
                    _parts(pb.CheckLazyRequest, call, out), timeout=self._deadlines.check_s, metadata=outgoing()
                )
            if answer.HasField("error"):
                self._fail(node, answer.error)
            return list(answer.needed)
        finally:
            out.close()

    async def fingerprint(self, ctx: Ctx, node: ForeignNode, inputs: Mapping[str, object]) -> str | None:
        """None: the node always runs."""
        self._link.require(node.spec.id)

        def request(out: Outgoing) -> pb.FingerprintRequest:
            values = {name: out.pack(value) for name, value in inputs.items()}
            return pb.FingerprintRequest(class_type=node.spec.id, run_id=ctx.run_id, node_id=ctx.node_id, inputs=values)

        message, _ = packed(request, unchanged, shared=False)
        with self._explained(node, self._deadlines.check_s):
            answer = await self._link.stub.Fingerprint(message, timeout=self._deadlines.check_s, metadata=outgoing())
        known = answer.HasField("fingerprint") and len(answer.fingerprint) <= _MAX_FINGERPRINT
        return f"provider:{answer.fingerprint}" if known else None

    async def _packed(
        self, ctx: Ctx, node: ForeignNode, inputs: Mapping[str, object], values: CallValues, holder: str
    ) -> tuple[pb.NodeCall, Outgoing]:
        def build(out: Outgoing) -> pb.NodeCall:
            return pb.NodeCall(
                class_type=node.spec.id, run_id=ctx.run_id, node_id=ctx.node_id, holder=holder,
                inputs={name: out.pack(value) for name, value in inputs.items()},
                id_prefix=f"{ctx.node_id}.{ctx.call_index}.",
            )  # fmt: skip

        return await asyncio.to_thread(packed, build, values.outward, self._link.shared)

    def _result(self, node: ForeignNode, values: CallValues, incoming: Incoming, answer: pb.NodeResult) -> NodeOutput:
        found = [incoming.unpack(value) for value in answer.outputs]
        return NodeOutput(self._ui(node, answer.ui_json), values.results(found, links=False))

    def _expansion(self, node: ForeignNode, values: CallValues, incoming: Incoming, answer: pb.Expansion) -> NodeOutput:
        if len(answer.nodes) > MAX_NODES or len({child.id for child in answer.nodes}) != len(answer.nodes):
            raise InvalidRequest(
                "a node expanded into too many nodes, or twice into one id", reason="EXPANSION_TOO_LARGE",
                node_type=node.spec.id, nodes=len(answer.nodes), max_nodes=MAX_NODES,
            )  # fmt: skip
        nodes: dict[str, Json] = {}
        for child in answer.nodes:
            inputs = {name: _in_graph(value, incoming) for name, value in child.inputs.items()}
            shown = {"override_display_id": child.display_id} if child.display_id else {}
            nodes[child.id] = {"class_type": child.class_type, "inputs": inputs, **shown}
        found = [incoming.unpack(value) for value in answer.outputs]
        return NodeOutput(self._ui(node, answer.ui_json), values.results(found, links=True), nodes)

    def _ui(self, node: ForeignNode, text: bytes) -> dict[str, list[Json]] | None:
        if not text:
            return None
        try:
            ui = json.loads(text) if len(text) <= _MAX_UI_BYTES else None
        except (ValueError, RecursionError):
            ui = None
        if not isinstance(ui, dict) or not all(isinstance(items, list) for items in ui.values()):
            raise InvalidRequest(
                "what a node shows is an object of lists", reason="NODE_UI", node_type=node.spec.id,
                max_bytes=_MAX_UI_BYTES,
            )  # fmt: skip
        return ui

    def _fail(self, node: ForeignNode, error: pb.NodeError) -> NoReturn:
        if error.handle_lost:
            raise handle_lost(node.spec.id, self._link.address)
        lines = [line[:_MAX_TEXT] for line in error.traceback[:_MAX_LINES]]
        raise ForeignError(error.type[:200] or "Exception", error.message[:_MAX_TEXT], lines)

    @contextmanager
    def _explained(self, node: ForeignNode, limit_s: float) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as problem:
            raise self._typed(node, from_rpc_error(problem), limit_s) from problem

    def _typed(self, node: ForeignNode, error: HeliographError, limit_s: float) -> HeliographError:
        facts: dict[str, object] = {"node_type": node.spec.id, "provider": self._link.address}
        match error:
            case Unready():
                return Unready(
                    "the service that provides this node went away while it worked: submit again once it is back",
                    reason="PROVIDER_LOST", **facts,
                )  # fmt: skip
            case TooSlow():
                return TooSlow(
                    "the node took longer than it may: HELIOGRAPH_NODE_TIMEOUT_S is the limit", reason="NODE_DEADLINE",
                    limit_s=limit_s, **facts,
                )  # fmt: skip
            case Busy() | Stopped() | InvalidRequest() | NotFound() | Unsupported():
                return type(error)(error.message, reason=error.reason, **{**error.facts, **facts})
        return Internal(
            "the service that provides this node failed: its log has the cause", reason="PROVIDER_FAILED",
            status=error.message[:500], **facts,
        )  # fmt: skip


async def _parts(make: Callable[..., Any], call: pb.NodeCall, out: Outgoing) -> AsyncIterator[Any]:
    for chunk in out.chunks():
        yield make(chunk=chunk)
    yield make(call=call)


def _advance(ctx: Ctx, progress: pb.ExecutionProgress) -> None:
    picture = progress.preview
    fine = picture.media_type in _PICTURES and 0 < len(picture.image) <= _MAX_PREVIEW_BYTES
    ctx.progress(progress.value, progress.max, PreviewImage(picture.media_type, picture.image) if fine else None)


def _in_graph(value: Any, incoming: Incoming) -> Any:
    """An input of a node in a graph: a link as such, lists and odd objects wrapped so that they are no links."""
    found = incoming.unpack(value)
    if value.WhichOneof("kind") == "link":
        return found
    found = as_ours(found)
    if isinstance(found, list) or (isinstance(found, dict) and "__value__" in found):
        return {"__value__": found}
    return found
