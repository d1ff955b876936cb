"""Calls a node function: list mapping of inputs, merging of results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kit.errors import Internal, InvalidRequest
from orchestrator.graph.declare import NodeImpl
from orchestrator.graph.kinds import Link
from orchestrator.graph.prompt import Literal, Node, Ref
from orchestrator.graph.spec import HiddenInput, NodeOutput, NodeSpec
from orchestrator.ports import Ctx

ANY = "*"
"""The type that everything fits."""

Inputs = Mapping[str, tuple[object, ...]]
"""Values by input name: one for a literal or a plain link, several for a list."""


@dataclass(frozen=True)
class Result:
    """Merged over all calls: values per output slot, and what to show (None: nothing)."""

    outputs: tuple[tuple[object, ...], ...]
    ui: Mapping[str, object] | None


def gather(node: Node, impl: NodeImpl, values: Callable[[Ref], tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Declared inputs of the node; undeclared ones if they are links and the function takes them."""
    reserved = {"ctx", *(item.name for item in impl.spec.hidden)}
    gathered: dict[str, tuple[object, ...]] = {}
    for name, value in (node.inputs or {}).items():
        declared = impl.spec.input(name) is not None
        if isinstance(value, Ref) and (declared or (impl.extra_inputs and name not in reserved)):
            gathered[name] = values(value)
        elif isinstance(value, Literal) and declared:
            gathered[name] = (value.value,)
    return gathered


def refuse_values(node: Node, spec: NodeSpec) -> None:
    """Validation lets a plain value pass where a link belongs, as ComfyUI does; no node could use it.

    Raises InvalidRequest (NOT_A_LINK).
    """
    for item in spec.inputs:
        value = (node.inputs or {}).get(item.name)
        if not isinstance(item.kind, Link) or item.kind.wire_type == ANY or not isinstance(value, Literal):
            continue
        if item.required or value.value is not None:
            raise InvalidRequest(
                "this input takes a link to another node's output and no value", reason="NOT_A_LINK",
                input=item.name, expected=item.kind.wire_type, node_type=spec.id,
            )  # fmt: skip


def calls(spec: NodeSpec, inputs: Inputs, ctx: Ctx) -> Iterator[dict[str, object]]:
    """Keyword arguments of each call. Shorter lists repeat their last element.

    Raises InvalidRequest (EMPTY_LIST) if a list that has to be walked is empty.
    """
    hidden = {item.name: _hidden(item, ctx) for item in spec.hidden}
    if spec.input_is_list:
        yield {**{name: list(values) for name, values in inputs.items()}, **{name: [v] for name, v in hidden.items()}}
        return
    for name, values in inputs.items():
        if not values:
            raise InvalidRequest("an input is an empty list", reason="EMPTY_LIST", input=name, node_type=spec.id)
    for index in range(max(map(len, inputs.values()), default=1)):
        yield {name: values[min(index, len(values) - 1)] for name, values in inputs.items()} | hidden


def run_sync(impl: NodeImpl, ctx: Ctx, inputs: Inputs) -> Result:
    """Calls the function in this thread; stops between calls if asked to."""
    returned = []
    for arguments in calls(impl.spec, inputs, ctx):
        ctx.check_cancelled()
        returned.append(impl.function(ctx, **arguments))
    return merge(impl.spec, returned)


async def run_async(impl: NodeImpl, ctx: Ctx, inputs: Inputs) -> Result:
    """Awaits the coroutine function, one call after the other."""
    returned = []
    for arguments in calls(impl.spec, inputs, ctx):
        ctx.check_cancelled()
        returned.append(await impl.function(ctx, **arguments))
    return merge(impl.spec, returned)


def merge(spec: NodeSpec, returned: list[object]) -> Result:
    """Raises Internal (NODE_RESULT) if a function did not return what it declares."""
    slots: list[list[object]] = [[] for _ in spec.outputs]
    shown: dict[str, list[object]] = {}
    for value in returned:
        result = value if isinstance(value, NodeOutput) else NodeOutput(result=_as_tuple(spec, value))
        if len(result.result) != len(slots):
            raise _wrong(spec, f"{len(result.result)} values for {len(slots)} outputs")
        for slot, declared, item in zip(slots, spec.outputs, result.result, strict=True):
            if not declared.is_list:
                slot.append(item)
            elif isinstance(item, (list, tuple)):
                slot.extend(item)
            else:
                raise _wrong(spec, f"{type(item).__name__} for the list output {declared.name}")
        for name, items in (result.ui or {}).items():
            shown.setdefault(name, []).extend(items)
    return Result(tuple(map(tuple, slots)), shown or None)


def _as_tuple(spec: NodeSpec, value: object) -> tuple[object, ...]:
    if value is None and not spec.outputs:
        return ()
    if isinstance(value, tuple):
        return value
    raise _wrong(spec, type(value).__name__)


def _wrong(spec: NodeSpec, what: str) -> Internal:
    return Internal(
        "a node returned something else than it declares", reason="NODE_RESULT", node_type=spec.id, got=what
    )


def _hidden(item: HiddenInput, ctx: Ctx) -> object:
    match item.type:
        case "EXTRA_PNGINFO":
            return ctx.extra_pnginfo
        case "UNIQUE_ID":
            return ctx.node_id
        case _:
            return ctx.prompt
