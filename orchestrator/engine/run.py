"""The engine: runs a validated graph, one node a slot, and tells what happens."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from kit.errors import Stopped, Unsupported
from kit.telemetry import SPAN_NODE
from orchestrator.engine import events
from orchestrator.engine.cache import Entry, ResultCache
from orchestrator.engine.call import Inputs, Result, gather, refuse_values, run_async, run_sync
from orchestrator.engine.cancel import Cancel
from orchestrator.engine.failure import failed, out_of_memory
from orchestrator.engine.keys import node_keys
from orchestrator.engine.outcome import Outcome, State
from orchestrator.engine.plan import FREE, LANES, Plan
from orchestrator.engine.states import States
from orchestrator.graph.declare import NodeImpl
from orchestrator.graph.prompt import Graph, Literal, Ref
from orchestrator.ports import Ctx, PreviewImage, Progress

CtxFactory = Callable[[str, Progress, Callable[[], None]], Ctx]
"""(node id, progress, check_cancelled) -> what that node gets."""

T = TypeVar("T")
Emit = Callable[[events.Event], None]


class Engine:
    """Shared by the runs of one worker; `salt` names everything beside the prompt that decides results.

    With `cpu_slots` 1 nodes run strictly one after the other, in ComfyUI's order; with more, nodes of the CPU lane
    run beside each other and beside the accelerator's one. Async nodes need no slot.
    """

    def __init__(
        self,
        impls: Mapping[str, NodeImpl],
        cache: ResultCache,
        *,
        cpu_slots: int = 1,
        salt: str = "",
        debug: bool = False,
    ) -> None:
        self.impls = impls
        self.cache = cache
        self.salt = salt
        self.debug = debug
        self.slots = {"cpu": cpu_slots, "accelerator": 1}
        self.threads = {lane: ThreadPoolExecutor(self.slots[lane], f"node-{lane}") for lane in LANES}

    async def run(
        self, graph: Graph, outputs: Iterable[str], ctx_factory: CtxFactory, emit: Emit, cancel: Cancel
    ) -> Outcome:
        """Runs the output nodes and what they need. `emit` is called in this thread. Failures are in the outcome."""
        return await _Run(self, graph, tuple(outputs), ctx_factory, emit, cancel).execute()

    def close(self) -> None:
        """Lets go of the threads once their nodes have ended."""
        for threads in self.threads.values():
            threads.shutdown(wait=True)


@dataclass(frozen=True)
class _Job:
    node_id: str
    key: str
    impl: NodeImpl
    inputs: Inputs


class _Run:
    def __init__(
        self,
        engine: Engine,
        graph: Graph,
        outputs: tuple[str, ...],
        ctx_factory: CtxFactory,
        emit: Emit,
        cancel: Cancel,
    ) -> None:
        self._engine = engine
        self._graph = graph
        self._outputs = outputs
        self._ctx_factory = ctx_factory
        self._emit = emit
        self._cancel = cancel
        self._loop = asyncio.get_running_loop()
        self._states = States()
        self._jobs: dict[asyncio.Task[Result], _Job] = {}
        self._twins: dict[str, list[str]] = {}  # nodes that wait for an equal one that is running
        self._values: dict[str, tuple[tuple[object, ...], ...]] = {}  # by key, while somebody needs them
        self._needed_by: Counter[str] = Counter()
        self._shown: dict[str, Entry] = {}  # by key: finished in this run or found in the cache, without values
        self._keys: dict[str, str] = {}
        self._cached: tuple[str, ...] = ()
        self._executed: list[str] = []
        self._ended: State | None = None
        self._wake = asyncio.Event()

    async def execute(self) -> Outcome:
        def wake() -> None:
            self._loop.call_soon_threadsafe(self._wake.set)

        self._cancel.watch(wake)
        try:
            self._emit(events.Started())
            await self._prepare()
            while self._ended is None:
                await self._step()
        finally:
            self._cancel.unwatch(wake)
            self._ended = self._ended or "interrupted"
            await self._drain()
        return self._outcome(self._ended)

    async def _prepare(self) -> None:
        engine, cache = self._engine, self._engine.cache
        needed = self._needed()
        fingerprints: dict[str, str | None] = {}
        if printed := self._fingerprinted(needed):
            work = _in_context(partial(self._fingerprints, printed))
            fingerprints = await self._loop.run_in_executor(engine.threads["cpu"], work)
        self._keys = node_keys(self._graph, engine.impls, fingerprints, engine.salt)
        cache.begin(frozenset(self._keys.values()))
        found = {node_id: cache.get(self._keys[node_id]) for node_id in self._graph.nodes if node_id in self._keys}
        entries = {node_id: entry for node_id, entry in found.items() if entry is not None}
        self._cached = tuple(entries)
        self._emit(events.Cached(self._cached))
        if unknown := [node_id for node_id in needed if node_id not in self._keys]:
            self._refuse(unknown[0])
            return
        self._plan = Plan(self._graph, engine.impls, self._outputs, entries.keys())
        for node_id in self._plan.pending:
            if node_id not in entries:
                self._needed_by.update(self._source_keys(node_id))
        for node_id, entry in entries.items():
            key = self._keys[node_id]
            self._shown[key] = Entry((), entry.ui, entry.meta)
            if self._needed_by[key]:
                self._values[key] = entry.outputs

    def _refuse(self, node_id: str) -> None:
        """The graph was validated against other nodes than this worker has."""
        node = self._graph.nodes.get(node_id)
        node_type = str(node.class_type) if node else ""
        error = Unsupported("this worker cannot resolve the node or one it is linked to", reason="NODE_UNKNOWN")
        self._end("failed", failed(node_id, node_type, error, executed=(), node_ids=(), inputs={}, debug=False))

    def _needed(self) -> dict[str, None]:
        """The outputs and all they are linked to, nodes that do not exist included."""
        needed: dict[str, None] = {}
        stack = list(self._outputs)
        while stack:
            node_id = stack.pop()
            if node_id in needed:
                continue
            needed[node_id] = None
            if node_id in self._graph.nodes:
                stack.extend(ref.node_id for _, ref in self._graph.nodes[node_id].refs())
        return needed

    def _fingerprinted(self, needed: Iterable[str]) -> list[str]:
        """Those of the nodes that outputs need; the others' files are none of this run's business."""
        known = (node_id for node_id in needed if node_id in self._graph.nodes)
        impls = {node_id: self._engine.impls.get(str(self._graph.nodes[node_id].class_type)) for node_id in known}
        return [node_id for node_id, impl in impls.items() if impl is not None and impl.fingerprint is not None]

    def _fingerprints(self, printed: Iterable[str]) -> dict[str, str | None]:
        """In a thread: they read files."""
        return {node_id: None if self._cancel.is_set() else self._fingerprint(node_id) for node_id in printed}

    def _fingerprint(self, node_id: str) -> str | None:
        impl = self._impl(node_id)
        assert impl.fingerprint is not None
        inputs = self._graph.nodes[node_id].inputs or {}
        literals = {name: value.value for name, value in inputs.items() if isinstance(value, Literal)}
        try:
            return impl.fingerprint(self._ctx(node_id), literals)
        except Exception:  # noqa: BLE001  # boundary: the node runs, meets the same trouble and the client is told
            return None

    def _start_ready(self) -> bool:
        """True: stopped after an async node, more may be ready."""
        while self._ended is None and (node_id := self._plan.take(self._open_lanes())) is not None:
            key = self._keys[node_id]
            if key in self._shown:
                self._reuse(node_id, self._shown[key])
            elif key in self._twins:
                self._twins[key].append(node_id)
            else:
                self._start(node_id, key)
                if self._impl(node_id).is_async:
                    return True
        return False

    def _open_lanes(self) -> list[str]:
        slots = self._engine.slots
        busy = Counter(self._plan.lane(job.node_id) for job in self._jobs.values())
        if slots["cpu"] == 1:  # one after the other
            return [FREE] if busy["cpu"] or busy["accelerator"] else [FREE, *LANES]
        return [FREE, *(lane for lane in LANES if busy[lane] < slots[lane])]

    def _reuse(self, node_id: str, entry: Entry) -> None:
        self._emit(events.Executed(node_id, node_id, entry.ui))
        self._emit(self._states.finish(node_id))
        self._consumed(node_id)
        self._plan.done(node_id)

    def _start(self, node_id: str, key: str) -> None:
        self._emit(self._states.begin(node_id))
        self._emit(events.Executing(node_id, node_id))
        impl = self._impl(node_id)
        if self._cancel.is_set():
            self._interrupt(node_id)
            return
        job = _Job(node_id, key, impl, gather(self._graph.nodes[node_id], impl, self._value))
        self._twins[key] = []
        self._jobs[self._loop.create_task(self._call(job), name=f"node {node_id}")] = job

    async def _call(self, job: _Job) -> Result:
        refuse_values(self._graph.nodes[job.node_id], job.impl.spec)
        ctx = self._ctx(job.node_id)
        if job.impl.is_async:
            with ctx.span(SPAN_NODE):
                return await run_async(job.impl, ctx, job.inputs)

        def in_thread() -> Result:
            with ctx.span(SPAN_NODE):
                return run_sync(job.impl, ctx, job.inputs)

        return await self._loop.run_in_executor(self._engine.threads[job.impl.spec.lane], _in_context(in_thread))

    async def _step(self) -> None:
        """Starts what can start; waits until a node has ended or somebody cancels."""
        at_once = self._start_ready()
        if self._ended is not None:
            return
        if not self._jobs:
            self._end("succeeded", events.Succeeded())
            return
        if at_once:  # an async node that never waits is done before anything else begins, and so is its progress
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        else:
            await self._wait()
        for task in [task for task in self._jobs if task.done()]:
            self._finish(task)

    async def _wait(self) -> None:
        if self._cancel.is_set():
            self._cancel_async()
            await asyncio.wait(self._jobs, return_when=asyncio.FIRST_COMPLETED)
            return
        waker = self._loop.create_task(self._wake.wait())
        try:
            await asyncio.wait([*self._jobs, waker], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waker.cancel()

    def _cancel_async(self) -> None:
        for task, job in self._jobs.items():
            if job.impl.is_async:
                task.cancel()

    def _finish(self, task: asyncio.Task[Result]) -> None:
        job = self._jobs.pop(task)
        error: BaseException | None = Stopped("cancelled") if task.cancelled() else task.exception()
        if error is None:
            self._keep(job, task.result())
        elif self._ended is not None:
            return
        elif isinstance(error, Stopped):
            self._interrupt(job.node_id)
        else:
            self._fail(job, error)

    def _keep(self, job: _Job, result: Result) -> None:
        node_id = job.node_id
        meta = {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
        entry = Entry(result.outputs, result.ui, meta)
        self._engine.cache.put(job.key, entry)
        self._shown[job.key] = Entry((), result.ui, meta)
        self._executed.append(node_id)
        if self._needed_by[job.key]:
            self._values[job.key] = result.outputs
        if self._ended is not None:
            return
        if result.ui is not None:
            self._emit(events.Executed(node_id, node_id, result.ui))
        self._emit(self._states.finish(node_id))
        self._consumed(node_id)
        self._plan.done(node_id)
        for twin in self._twins.pop(job.key, ()):
            self._plan.release(twin)

    def _fail(self, job: _Job, error: BaseException) -> None:
        if out_of_memory(error):
            self._engine.cache.keep_only(frozenset(self._keys.values()))
        event = failed(
            job.node_id, job.impl.spec.id, error,
            executed=self._executed, node_ids=tuple(self._graph.nodes), inputs=job.inputs, debug=self._engine.debug,
        )  # fmt: skip
        self._end("failed", event)

    def _interrupt(self, node_id: str) -> None:
        self._end("interrupted", events.Interrupted(node_id, self._impl(node_id).spec.id, tuple(self._executed)))

    def _end(self, state: State, event: events.Event) -> None:
        self._ended = state
        self._emit(event)

    async def _drain(self) -> None:
        """Other nodes of an ended run stop at their next look; what they finish is kept, and nothing is told."""
        self._cancel_async()
        if self._jobs:
            await asyncio.wait(self._jobs)
        for task in list(self._jobs):
            self._finish(task)

    def _outcome(self, state: State) -> Outcome:
        entries = {
            node_id: self._shown[key]
            for node_id in self._graph.nodes
            if (key := self._keys.get(node_id)) in self._shown and key is not None
        }
        shown = {node_id: entry.ui for node_id, entry in entries.items() if entry.ui is not None}
        meta = {node_id: entries[node_id].meta for node_id in shown}
        return Outcome(state, shown, meta, self._cached, tuple(self._executed))

    def _value(self, ref: Ref) -> tuple[object, ...]:
        return self._values[self._keys[ref.node_id]][ref.slot]

    def _source_keys(self, node_id: str) -> set[str]:
        return {self._keys[ref.node_id] for _, ref in self._graph.nodes[node_id].refs()}

    def _consumed(self, node_id: str) -> None:
        """The node needs its inputs no longer; values that nobody needs are let go."""
        if node_id in self._cached:
            return
        for key in self._source_keys(node_id):
            self._needed_by[key] -= 1
            if not self._needed_by[key]:
                self._values.pop(key, None)

    def _impl(self, node_id: str) -> NodeImpl:
        return self._engine.impls[str(self._graph.nodes[node_id].class_type)]

    def _ctx(self, node_id: str) -> Ctx:
        def check_cancelled() -> None:
            if self._cancel.is_set() or self._ended is not None:
                raise Stopped("the run was stopped", node_id=node_id)

        def progress(value: float, maximum: float, preview: PreviewImage | None = None) -> None:
            check_cancelled()
            self._loop.call_soon_threadsafe(self._advance, node_id, value, maximum, preview)

        return self._ctx_factory(node_id, progress, check_cancelled)

    def _advance(self, node_id: str, value: float, maximum: float, preview: PreviewImage | None) -> None:
        if self._ended is not None or not self._states.running(node_id):
            return
        self._emit(self._states.advance(node_id, value, maximum))
        if preview is not None:
            self._emit(events.Previewed(node_id, node_id, "", node_id, preview))
        self._emit(events.Progress(node_id, value, maximum))


def _in_context(function: Callable[[], T]) -> Callable[[], T]:
    """For another thread, with this one's context variables (the current span)."""
    return partial(contextvars.copy_context().run, function)
