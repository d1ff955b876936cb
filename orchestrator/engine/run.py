"""The engine: runs a validated graph, one node a slot, and tells what happens."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from kit.errors import HeliographError, Stopped, Unsupported
from orchestrator.engine import events
from orchestrator.engine.cache import Entry, ResultCache
from orchestrator.engine.call import Expansion, Needs, Result, gather, resolved
from orchestrator.engine.caller import Answer, Caller, CtxFactory, Growth, Job
from orchestrator.engine.cancel import Cancel
from orchestrator.engine.expand import circle, no_key, refuse_strangers
from orchestrator.engine.failure import blocked, failed, out_of_memory
from orchestrator.engine.grown import Grown
from orchestrator.engine.kept import Kept
from orchestrator.engine.keys import node_keys
from orchestrator.engine.outcome import Outcome, State
from orchestrator.engine.plan import FREE, LANES, Plan, needed_for
from orchestrator.engine.states import States
from orchestrator.graph.declare import NodeImpl
from orchestrator.graph.prompt import Graph, Ref
from orchestrator.ports import PreviewImage

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
        self._grown = Grown(graph)
        self._nodes = self._grown.nodes
        self._outputs = outputs
        self._emit = emit
        self._cancel = cancel
        self._loop = asyncio.get_running_loop()
        self._states = States(self._grown.origin)
        self._caller = Caller(
            engine.impls, engine.threads, self._grown, ctx_factory, self._advance, self._show,
            lambda: self._cancel.is_set() or self._ended is not None,
        )  # fmt: skip
        self._jobs: dict[asyncio.Task[Answer], Job] = {}
        self._expanded: dict[str, tuple[Job, Expansion]] = {}  # nodes whose graph is running
        self._doing: dict[str, str] = {}  # by key: the node that was started for it
        self._twins: dict[str, list[str]] = {}  # nodes that wait for an equal one that is running
        self._kept = Kept()
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
        needed = needed_for(self._outputs, self._graph)
        known = {node_id: self._nodes[node_id] for node_id in needed if node_id in self._nodes}
        fingerprints = await self._caller.fingerprints(known)
        self._keys = node_keys(self._graph, engine.impls, fingerprints, engine.salt)
        cache.begin(frozenset(self._keys.values()))
        found = {node_id: cache.get(self._keys[node_id]) for node_id in self._graph.nodes if node_id in self._keys}
        entries = {node_id: entry for node_id, entry in found.items() if entry is not None}
        self._cached = tuple(entries)
        self._emit(events.Cached(self._cached))
        if unknown := [node_id for node_id in needed if node_id not in self._keys]:
            self._refuse(unknown[0])
            return
        self._plan = Plan(self._nodes, engine.impls, entries.keys())
        self._plan.add(self._outputs)
        # What a node expands into may link to anything: then nothing is let go before the end.
        self._kept.keep_all = any(self._impl(node_id).expands for node_id in needed)
        for node_id in self._plan.pending:
            if node_id not in entries:
                self._kept.need(self._source_keys(node_id))
        for node_id, entry in entries.items():
            key = self._keys[node_id]
            self._shown[key] = Entry((), entry.ui, entry.meta)
            self._kept.offer(key, entry.outputs)

    def _refuse(self, node_id: str) -> None:
        """The graph was validated against other nodes than this worker has."""
        node = self._graph.nodes.get(node_id)
        node_type = str(node.class_type) if node else ""
        error = Unsupported("this worker cannot resolve the node or one it is linked to", reason="NODE_UNKNOWN")
        self._end("failed", failed(node_id, node_type, error, executed=(), node_ids=(), inputs={}, debug=False))

    def _start_ready(self) -> bool:
        """True: stopped after an async node, more may be ready."""
        while self._ended is None and (node_id := self._plan.take(self._open_lanes())) is not None:
            key = self._keys[node_id]
            if node_id in self._expanded:
                self._conclude(node_id)
            elif key in self._shown:
                self._reuse(node_id, self._shown[key])
            elif self._doing.setdefault(key, node_id) != node_id:
                self._twins.setdefault(key, []).append(node_id)
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
        self._emit(events.Executed(node_id, self._grown.origin(node_id).display, entry.ui))
        self._emit(self._states.finish(node_id))
        self._consumed(node_id)
        self._plan.done(node_id)

    def _start(self, node_id: str, key: str) -> None:
        self._emit(self._states.begin(node_id))
        self._emit(events.Executing(node_id, self._grown.origin(node_id).display))
        impl = self._impl(node_id)
        if self._cancel.is_set():
            self._interrupt(node_id)
            return
        job = Job(node_id, key, impl, gather(self._nodes[node_id], impl, self._value))
        self._jobs[self._loop.create_task(self._caller.call(job), name=f"node {node_id}")] = job

    async def _step(self) -> None:
        """Starts what can start; waits until a node has ended or somebody cancels."""
        at_once = self._start_ready()
        if self._ended is not None:
            return
        if not self._jobs:
            if stuck := self._plan.stuck:
                self._fail_in_circle(stuck)
            else:
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

    def _finish(self, task: asyncio.Task[Answer]) -> None:
        job = self._jobs.pop(task)
        error: BaseException | None = Stopped("cancelled") if task.cancelled() else task.exception()
        if error is None:
            self._take(job, task.result())
        elif self._ended is not None:
            return
        elif isinstance(error, Stopped):
            self._interrupt(job.node_id)
        else:
            self._fail(job, error)

    def _take(self, job: Job, answer: Answer) -> None:
        match answer:
            case Result():
                self._keep(job, answer)
            case _ if self._ended is not None:
                return
            case Needs(names):
                sources = (value for name, value in self._nodes[job.node_id].refs() if name in names)
                self._plan.wait(job.node_id, (ref.node_id for ref in sources))
            case Growth():
                try:
                    self._expand(job, answer)
                except HeliographError as error:
                    self._fail(job, error)

    def _expand(self, job: Job, growth: Growth) -> None:
        """The node waits for what it expanded into."""
        node_id, children = job.node_id, growth.children
        self._grown.grow(node_id, children)
        impls, salt = self._engine.impls, self._engine.salt
        known = node_keys(Graph(children), impls, growth.fingerprints, salt, known=self._keys)
        if keyless := [child for child in children if child not in known]:
            raise no_key(children, keyless, self._nodes)
        self._keys = known
        cached = [child for child in children if self._from_cache(known[child])]
        self._plan.found(cached)
        self._tell_blocked(job, growth.expansion.blocked)
        if growth.expansion.ui is not None:
            shown = self._grown.origin(node_id).display
            self._emit(events.Executed(node_id, shown, growth.expansion.ui))
        self._expanded[node_id] = (job, growth.expansion)
        outputs = [child for child in children if self._impl(child).spec.output_node]
        refuse_strangers(links := [ref.node_id for ref in growth.expansion.links()], self._nodes)
        self._plan.add(outputs)
        self._plan.wait(node_id, [*links, *outputs])

    def _from_cache(self, key: str) -> bool:
        """Whether an equal node has run before; then its values are at hand."""
        if key in self._kept:
            return True
        entry = self._engine.cache.get(key)
        if entry is None:
            return False
        self._shown[key] = Entry((), entry.ui, entry.meta)
        self._kept.hold(key, entry.outputs)
        return True

    def _conclude(self, node_id: str) -> None:
        """What the node expanded into has run."""
        job, expansion = self._expanded.pop(node_id)
        try:
            outputs = resolved(job.impl.spec, expansion, self._value)
        except HeliographError as error:
            self._fail(job, error)
            return
        self._keep(job, Result(outputs, expansion.ui), told=True)

    def _keep(self, job: Job, result: Result, *, told: bool = False) -> None:
        """`told`: what the node showed was told before."""
        node_id, origin = job.node_id, self._grown.origin(job.node_id)
        meta = origin.as_meta(node_id)
        entry = Entry(result.outputs, result.ui, meta)
        self._engine.cache.put(job.key, entry)
        self._shown[job.key] = Entry((), result.ui, meta)
        self._executed.append(node_id)
        self._kept.offer(job.key, result.outputs)
        if self._ended is not None:
            return
        self._tell_blocked(job, result.blocked)
        if result.ui is not None and not told:
            self._emit(events.Executed(node_id, origin.display, result.ui))
        self._emit(self._states.finish(node_id))
        self._consumed(node_id)
        self._plan.done(node_id)
        for twin in self._twins.pop(job.key, ()):
            self._plan.release(twin)

    def _tell_blocked(self, job: Job, messages: Iterable[str]) -> None:
        """To the client, as an error; the run goes on."""
        for message in messages:
            real = self._grown.origin(job.node_id).real
            self._emit(blocked(real, job.impl.spec.id, message, self._executed))

    def _fail_in_circle(self, stuck: list[str]) -> None:
        """Only what nodes expanded into can do that: submitted circles are refused."""
        node_id = next((node_id for node_id in stuck if node_id in self._expanded), stuck[0])
        self._fail(Job(node_id, "", self._impl(node_id), {}), circle(stuck))

    def _fail(self, job: Job, error: BaseException) -> None:
        if out_of_memory(error):
            self._engine.cache.keep_only(frozenset(self._keys.values()))
        event = failed(
            self._grown.origin(job.node_id).real, job.impl.spec.id, error,
            executed=self._executed, node_ids=tuple(self._graph.nodes), inputs=job.inputs, debug=self._engine.debug,
        )  # fmt: skip
        self._end("failed", event)

    def _interrupt(self, node_id: str) -> None:
        real, node_type = self._grown.origin(node_id).real, self._impl(node_id).spec.id
        self._end("interrupted", events.Interrupted(real, node_type, tuple(self._executed)))

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
            for node_id in self._nodes
            if (key := self._keys.get(node_id)) in self._shown and key is not None
        }
        shown = {node_id: entry.ui for node_id, entry in entries.items() if entry.ui is not None}
        meta = {node_id: entries[node_id].meta for node_id in shown}
        return Outcome(state, shown, meta, self._cached, tuple(self._executed))

    def _value(self, ref: Ref) -> tuple[object, ...] | None:
        return self._kept.slot(self._keys.get(ref.node_id, ""), ref.slot)

    def _source_keys(self, node_id: str) -> set[str]:
        return {self._keys[ref.node_id] for _, ref in self._nodes[node_id].refs()}

    def _consumed(self, node_id: str) -> None:
        """The node needs its inputs no longer; one that was cached never did."""
        if node_id not in self._cached and not self._kept.keep_all:
            self._kept.release(self._source_keys(node_id))

    def _impl(self, node_id: str) -> NodeImpl:
        return self._engine.impls[str(self._nodes[node_id].class_type)]

    def _advance(self, node_id: str, value: float, maximum: float, preview: PreviewImage | None) -> None:
        if self._ended is not None or not self._states.running(node_id):
            return
        self._emit(self._states.advance(node_id, value, maximum))
        if preview is not None:
            self._show(node_id, preview)
        self._emit(events.Progress(node_id, value, maximum))

    def _show(self, node_id: str, preview: PreviewImage) -> None:
        if self._ended is None and self._states.running(node_id):
            origin = self._grown.origin(node_id)
            self._emit(events.Previewed(node_id, origin.display, origin.parent, origin.real, preview))
