"""One node's call: what it gets, its lazy inputs, its function in the fitting lane, what it expands into."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from kit.errors import Stopped
from kit.telemetry import SPAN_NODE
from orchestrator.engine.call import Expansion, Inputs, Needs, Result, ask_lazy, refuse_values, run_async, run_sync
from orchestrator.engine.expand import children_of
from orchestrator.engine.grown import Grown, Seen
from orchestrator.graph.declare import NodeImpl
from orchestrator.graph.prompt import Literal, Node
from orchestrator.ports import Ctx, PreviewImage, Progress

CtxFactory = Callable[[str, str, Progress, Callable[[], None]], Ctx]
"""(node id, node type, progress, check_cancelled) -> what that node gets."""

Advance = Callable[[str, float, float, PreviewImage | None], None]
"""(node id, value, maximum, picture): called on the event loop."""

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A node that was started; `key`: its cache key."""

    node_id: str
    key: str
    impl: NodeImpl
    inputs: Inputs


@dataclass(frozen=True)
class Growth:
    """What a node expanded into, ready to be taken into the run."""

    expansion: Expansion
    children: Mapping[str, Node]
    fingerprints: Mapping[str, str | None]


Answer = Result | Needs | Growth


class Caller:
    """Calls the nodes of one run, on its event loop; `stopped`: the run is over or somebody cancelled it."""

    def __init__(
        self,
        impls: Mapping[str, NodeImpl],
        threads: Mapping[str, ThreadPoolExecutor],
        grown: Grown,
        ctx_factory: CtxFactory,
        advance: Advance,
        show: Callable[[str, PreviewImage], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._impls = impls
        self._threads = threads
        self._grown = grown
        self._ctx_factory = ctx_factory
        self._advance = advance
        self._show = show
        self._stopped = stopped
        self._loop = asyncio.get_running_loop()

    async def call(self, job: Job) -> Answer:
        """The node's answer. Raises what its function raises, Stopped, InvalidRequest, NotFound (NODE_UNKNOWN)."""
        node, ctx = self._grown.nodes[job.node_id], self._ctx(job.node_id, job.impl)
        if (needs := await ask_lazy(job.impl, ctx, job.inputs, dict(node.refs()))) is not None:
            return needs
        refuse_values(node, job.impl.spec)
        result = await self._run(job, ctx)
        if isinstance(result, Result):
            return result
        children = children_of(result.nodes, self._impls)
        return Growth(result, children, await self.fingerprints(children))

    async def fingerprints(self, nodes: Mapping[str, Node]) -> dict[str, str | None]:
        """Of those whose class looks at files or the like, by id."""
        impls = {node_id: self._impls.get(str(node.class_type)) for node_id, node in nodes.items()}
        printed = [node_id for node_id, impl in impls.items() if impl is not None and impl.fingerprint is not None]
        if not printed:
            return {}

        def read() -> dict[str, str | None]:
            return {node_id: None if self._stopped() else self._fingerprint(nodes[node_id]) for node_id in printed}

        return await self._loop.run_in_executor(self._threads["cpu"], _in_context(read))

    def _fingerprint(self, node: Node) -> str | None:
        impl = self._impls[str(node.class_type)]
        assert impl.fingerprint is not None
        inputs = node.inputs or {}
        literals = {name: value.value for name, value in inputs.items() if isinstance(value, Literal)}
        try:
            return impl.fingerprint(self._ctx(node.id, impl), literals)
        except Exception:  # noqa: BLE001  # boundary: the node runs, meets the same trouble and the client is told
            return None

    async def _run(self, job: Job, ctx: Ctx) -> Result | Expansion:
        if job.impl.is_async:
            with ctx.span(SPAN_NODE):
                return await run_async(job.impl, ctx, job.inputs)

        def in_thread() -> Result | Expansion:
            with ctx.span(SPAN_NODE):
                return run_sync(job.impl, ctx, job.inputs)

        return await self._loop.run_in_executor(self._threads[job.impl.spec.lane], _in_context(in_thread))

    def _ctx(self, node_id: str, impl: NodeImpl) -> Ctx:
        def check_cancelled() -> None:
            if self._stopped():
                raise Stopped("the run was stopped", node_id=node_id)

        def progress(value: float, maximum: float, preview: PreviewImage | None = None) -> None:
            check_cancelled()
            self._loop.call_soon_threadsafe(self._advance, node_id, value, maximum, preview)

        def show_text(text: str) -> None:
            shown = PreviewImage("text/plain", text.encode("utf-8", "replace"))
            self._loop.call_soon_threadsafe(self._show, node_id, shown)

        ctx = replace(self._ctx_factory(node_id, impl.spec.id, progress, check_cancelled), show_text=show_text)
        return replace(ctx, graph=Seen(self._grown)) if impl.spec.wants("DYNPROMPT") else ctx


def _in_context(function: Callable[[], T]) -> Callable[[], T]:
    """For another thread, with this one's context variables (the current span)."""
    return partial(contextvars.copy_context().run, function)
