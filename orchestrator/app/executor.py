"""Runs on the engine: the lease's prompt becomes a graph, the engine's outcome the front's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kit import telemetry
from orchestrator.clients.artifacts import LocalArtifacts
from orchestrator.clients.models import GrpcModels
from orchestrator.clients.provider_nodes import NodeSet
from orchestrator.clients.settling import RunArtifacts
from orchestrator.engine.caller import CtxFactory
from orchestrator.engine.cancel import Cancel
from orchestrator.engine.events import Succeeded
from orchestrator.engine.run import Engine
from orchestrator.graph.prompt import parse
from orchestrator.ports import Ctx, Progress
from orchestrator.runs.events import Body
from orchestrator.runs.records import FreeRequest, Outcome, RunRecord, RunState

_STATES = {"succeeded": RunState.SUCCEEDED, "failed": RunState.FAILED, "interrupted": RunState.INTERRUPTED}


@dataclass(frozen=True)
class EngineExecutor:
    """Implements `app.loop.Executor`; `disk` waits for it; `node_settings` is `ctx.settings`."""

    engine: Engine
    nodes: NodeSet
    models: GrpcModels
    artifacts: LocalArtifacts
    disk: ThreadPoolExecutor
    node_settings: Mapping[str, object]

    async def execute(
        self, run: RunRecord, tell: Callable[[Body], None], stop: asyncio.Event
    ) -> Outcome | Awaitable[Outcome]:
        """See the protocol. Raises InvalidPrompt if the stored prompt cannot be read, Unready (PROVIDER_AWAY)."""
        graph = parse(run.prompt_json)
        await self.nodes.settle(str(node.class_type) for node in graph.nodes.values())
        cancel, artifacts = Cancel(), RunArtifacts(self.artifacts, self.disk)
        success: list[Body] = []  # is told when what was saved is on the disk

        def say(body: Body) -> None:
            (success.append if isinstance(body, Succeeded) else tell)(body)

        watcher = asyncio.create_task(_cancel_when(stop, cancel))
        try:
            outcome = await self.engine.run(
                graph, run.outputs_to_execute, self._ctx_factory(run, artifacts), say, cancel
            )
        finally:
            watcher.cancel()
        result = Outcome(
            _STATES[outcome.state],
            json.dumps({node_id: dict(ui) for node_id, ui in outcome.outputs.items()}).encode(),
            json.dumps({node_id: dict(meta) for node_id, meta in outcome.meta.items()}).encode(),
        )

        async def settled() -> Outcome:
            await artifacts.settled()
            for body in success:
                tell(body)
            return result

        return settled() if artifacts.settling else await settled()

    async def free(self, request: FreeRequest) -> None:
        """Drops cached results; servables belong to the model service, which the front has told."""
        if request.free_memory:
            self.engine.cache.clear()

    def _ctx_factory(self, run: RunRecord, artifacts: RunArtifacts) -> CtxFactory:
        prompt: Mapping[str, object] = json.loads(run.prompt_json)
        extra = json.loads(run.extra_data_json or b"{}").get("extra_pnginfo")
        pnginfo = extra if isinstance(extra, dict) else None

        def make(node_id: str, node_type: str, progress: Progress, check_cancelled: Callable[[], None]) -> Ctx:
            return Ctx(
                run_id=run.run_id,
                node_id=node_id,
                prompt=prompt,
                extra_pnginfo=pnginfo,
                models=self.models.bound(check_cancelled),
                artifacts=artifacts,
                progress=progress,
                check_cancelled=check_cancelled,
                span=lambda name: telemetry.span(name, run_id=run.run_id, node_id=node_id, node_type=node_type),
                settings=self.node_settings,
            )

        return make


async def _cancel_when(stop: asyncio.Event, cancel: Cancel) -> None:
    await stop.wait()
    cancel.set()
