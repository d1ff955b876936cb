"""Providers' classes as NodeImpl, beside the built-in ones; what is known changes between runs, never in one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from typing import Any, Literal, TypeVar

from kit.errors import Unready
from orchestrator.clients.provider_calls import Deadlines, ProviderCalls
from orchestrator.clients.provider_link import ProviderLink
from orchestrator.clients.provider_lists import ForeignNode
from orchestrator.clients.providers import Owners
from orchestrator.graph.declare import NodeImpl
from orchestrator.graph.spec import HiddenInput, NodeOutput
from orchestrator.ports import Ctx

T = TypeVar("T")
_WATCH_S = 0.05
_PATIENCE_S = 10.0


class NodeSet(Mapping[str, NodeImpl]):
    """All classes that a worker can run."""

    def __init__(self, builtin: Mapping[str, NodeImpl]) -> None:
        self._builtin = builtin
        self._impls: Mapping[str, NodeImpl] = builtin
        self._links: list[ProviderLink] = []
        self._made: dict[tuple[str, int], NodeImpl] = {}
        self._owners = Owners(builtin, lambda: self._links)
        self._changed = False

    def __getitem__(self, class_type: str) -> NodeImpl:
        return self._impls[class_type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._impls)

    def __len__(self) -> int:
        return len(self._impls)

    def connect(
        self, addresses: Iterable[str], deadlines: Deadlines, shared_memory: Literal["auto", "off"] = "auto"
    ) -> None:
        """Looks for these providers from now on; call it inside the event loop."""
        self._deadlines = deadlines
        self._links += [
            ProviderLink(address, self._note, executes=True, shared_memory=shared_memory == "auto")
            for address in addresses
        ]

    async def settle(self, wanted: Iterable[str]) -> None:
        """Before a run: takes what is known now; waits a while for providers if a wanted class is unknown.

        Raises Unready (PROVIDER_AWAY) if one stays unknown while a provider has never answered.
        """
        names = frozenset(wanted)
        self._take()
        if names <= self._impls.keys():
            return
        silent = [link for link in self._links if not link.here]
        waiting = [asyncio.ensure_future(link.known.wait()) for link in silent]
        if waiting:
            await asyncio.wait(waiting, timeout=_PATIENCE_S)
            for task in waiting:
                task.cancel()
            self._take()
        away = [link.address for link in self._links if not link.known.is_set()]
        if away and (missing := sorted(names - self._impls.keys())):
            raise Unready(
                "a node's class is not known here and a service that provides nodes is away: start it, submit again",
                reason="PROVIDER_AWAY", providers=", ".join(away), node_types=", ".join(missing[:5]),
            )  # fmt: skip

    async def close(self) -> None:
        """Ends all links."""
        await asyncio.gather(*(link.close() for link in self._links))

    def _note(self) -> None:
        self._changed = True

    def _take(self) -> None:
        if not self._changed:
            return
        self._changed = False
        made: dict[tuple[str, int], NodeImpl] = {}
        impls = dict(self._builtin)
        for class_type, (link, node) in self._owners.settle().items():
            key = (class_type, node.spec.version)
            made[key] = impls[class_type] = self._made.get(key) or impl_of(link, node, self._deadlines)
        self._made, self._impls = made, impls


def impl_of(link: ProviderLink, node: ForeignNode, deadlines: Deadlines) -> NodeImpl:
    """The class as the engine takes it: a coroutine if it runs beside others, else a function that waits."""
    loop = asyncio.get_running_loop()
    calls = ProviderCalls(link, deadlines)

    async def execute(ctx: Ctx, /, **inputs: object) -> NodeOutput:
        return await calls.execute(ctx, node, inputs)

    def execute_in_turn(ctx: Ctx, /, **inputs: object) -> NodeOutput:
        return _wait(loop, ctx, calls.execute(ctx, node, inputs))

    async def lazy(ctx: Ctx, /, **inputs: object) -> list[str]:
        return await calls.check_lazy(ctx, node, inputs)

    def fingerprint(ctx: Ctx, literals: Mapping[str, object]) -> str | None:
        hidden = {item.name: _hidden(item, ctx) for item in node.spec.hidden}
        return _wait(loop, ctx, calls.fingerprint(ctx, node, {**literals, **hidden}))

    function: Callable[..., Any] = execute if node.waits else execute_in_turn
    return NodeImpl(
        node.spec, function, fingerprint if node.fingerprint else None, node.waits, node.extra_inputs,
        lazy if node.lazy else None, node.expands,
    )  # fmt: skip


def _hidden(item: HiddenInput, ctx: Ctx) -> object:
    match item.type:
        case "UNIQUE_ID":
            return ctx.node_id
        case "PROMPT":
            return ctx.prompt
        case _:
            return None


def _wait(loop: asyncio.AbstractEventLoop, ctx: Ctx, work: Coroutine[Any, Any, T]) -> T:
    """From a node's thread: the result of `work` on the loop, unless the run is stopped before it is there."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        while True:
            try:
                return future.result(_WATCH_S)
            except TimeoutError:
                if future.done():
                    raise
                ctx.check_cancelled()
            except CancelledError as stopped:
                raise Unready("the call was cancelled", reason="PROVIDER_LOST") from stopped
    finally:
        future.cancel()
