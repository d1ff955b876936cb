"""Calls a node function: list mapping of inputs, merging of results, what is blocked, what expands."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from kit.errors import Internal, InvalidRequest
from orchestrator.graph.declare import NodeImpl
from orchestrator.graph.kinds import Json, Link
from orchestrator.graph.prompt import Literal, Node, Ref
from orchestrator.graph.spec import Blocker, HiddenInput, NodeOutput, NodeSpec
from orchestrator.ports import Ctx

ANY = "*"
"""The type that everything fits."""

_JSON = (str, int, float, list, dict, type(None))

Inputs = Mapping[str, tuple[object, ...]]
"""Values by input name: one for a literal or a plain link, several for a list."""

Values = Callable[[Ref], "tuple[object, ...] | None"]
"""What stands at an output; None: nothing yet."""


@dataclass(frozen=True)
class Result:
    """Merged over all calls: values per output slot, and what to show (None: nothing)."""

    outputs: tuple[tuple[object, ...], ...]
    ui: Mapping[str, object] | None
    blocked: tuple[str, ...] = ()  # messages of calls that did not take place


@dataclass(frozen=True)
class Expansion:
    """Calls of which at least one gave a graph in its place; merged once the graph has run."""

    calls: tuple[NodeOutput, ...]
    nodes: Mapping[str, Json]
    ui: Mapping[str, object] | None
    blocked: tuple[str, ...] = ()

    def links(self) -> list[Ref]:
        """What stands for the results."""
        found = (as_link(value) for call in self.calls if call.expand is not None for value in call.result)
        return [ref for ref in found if ref is not None]


@dataclass(frozen=True)
class Needs:
    """The node asks for these lazy inputs before it can run."""

    names: tuple[str, ...]


def as_link(value: object) -> Ref | None:
    """A link as an expansion's result has it."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        node_id, slot = value
        if isinstance(node_id, str) and isinstance(slot, int) and not isinstance(slot, bool):
            return Ref(node_id, slot)
    return None


def gather(node: Node, impl: NodeImpl, values: Values) -> dict[str, tuple[object, ...]]:
    """Declared inputs of the node; undeclared ones if they are links and the function takes them.

    An input with the option `rawLink` gets the link itself; a lazy one that has not run is left out.
    """
    reserved = {"ctx", *(item.name for item in impl.spec.hidden)}
    gathered: dict[str, tuple[object, ...]] = {}
    for name, value in (node.inputs or {}).items():
        declared = impl.spec.input(name)
        if isinstance(value, Ref) and (declared or (impl.extra_inputs and name not in reserved)):
            if declared and (declared.kind.options or {}).get("rawLink"):
                gathered[name] = ([value.node_id, value.slot],)
            elif (found := values(value)) is not None:
                gathered[name] = found
        elif isinstance(value, Literal) and declared:
            gathered[name] = (value.value,)
    return gathered


def refuse_values(node: Node, spec: NodeSpec) -> None:
    """Validation lets a plain value pass where a link belongs, as ComfyUI does; no node could use it.

    Raises InvalidRequest (NOT_A_LINK).
    """
    for item in spec.inputs:
        value = (node.inputs or {}).get(item.name)
        kind = item.kind
        if not isinstance(kind, Link) or kind.wire_type == ANY or kind.takes_values or not isinstance(value, Literal):
            continue
        if not isinstance(value.value, _JSON):  # an expansion put a tensor or the like there
            continue
        if item.required or value.value is not None:
            raise InvalidRequest(
                "this input takes a link to another node's output and no value", reason="NOT_A_LINK",
                input=item.name, expected=kind.wire_type, node_type=spec.id,
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


def run_sync(impl: NodeImpl, ctx: Ctx, inputs: Inputs) -> Result | Expansion:
    """Calls the function in this thread; stops between calls if asked to."""
    returned: list[object] = []
    for index, arguments in enumerate(calls(impl.spec, inputs, ctx)):
        ctx.check_cancelled()
        blocker = _blocker(arguments)
        returned.append(blocker if blocker is not None else impl.function(_nth(ctx, index), **arguments))
    return merge(impl, returned)


async def run_async(impl: NodeImpl, ctx: Ctx, inputs: Inputs) -> Result | Expansion:
    """Awaits the coroutine function, one call after the other."""
    returned: list[object] = []
    for index, arguments in enumerate(calls(impl.spec, inputs, ctx)):
        ctx.check_cancelled()
        blocker = _blocker(arguments)
        returned.append(blocker if blocker is not None else await impl.function(_nth(ctx, index), **arguments))
    return merge(impl, returned)


async def ask_lazy(impl: NodeImpl, ctx: Ctx, inputs: Inputs, linked: Mapping[str, Ref]) -> Needs | None:
    """What the node still needs of its lazy inputs, over all of its calls; None: nothing, it can run."""
    if impl.lazy is None:
        return None
    absent = {name: (None,) for name in linked if name not in inputs and impl.spec.is_lazy(name)}
    if not absent:
        return None
    needed: dict[str, None] = {}
    for arguments in calls(impl.spec, {**inputs, **absent}, ctx):
        answer = impl.lazy(ctx, **arguments)
        answer = await answer if inspect.isawaitable(answer) else answer
        needed.update(dict.fromkeys(answer or ()))
    missing = tuple(name for name in needed if name in absent)
    return Needs(missing) if missing else None


def merge(impl: NodeImpl, returned: list[object]) -> Result | Expansion:
    """Raises Internal (NODE_RESULT) if a function did not return what it declares."""
    spec = impl.spec
    outputs: list[NodeOutput] = []
    shown: dict[str, list[object]] = {}
    blocked: list[str] = []
    nodes: dict[str, Json] = {}
    for value in returned:
        if isinstance(value, Blocker):
            # Told once, here; those behind are stopped without a word.
            blocked += [value.message] if value.message is not None else []
            value = (Blocker(),) * len(spec.outputs)
        output = value if isinstance(value, NodeOutput) else NodeOutput(result=_as_tuple(spec, value))
        if output.expand is not None:
            if not impl.expands:
                raise _wrong(spec, "a graph")
            nodes.update(output.expand)
        outputs.append(output)
        for name, items in (output.ui or {}).items():
            shown.setdefault(name, []).extend(items)
    if any(output.expand is not None for output in outputs):
        return Expansion(tuple(outputs), nodes, shown or None, tuple(blocked))
    return Result(
        in_slots(spec, [[(value,) for value in _flat(spec, o)] for o in outputs]), shown or None, tuple(blocked)
    )


def resolved(spec: NodeSpec, expansion: Expansion, values: Values) -> tuple[tuple[object, ...], ...]:
    """The results of an expansion whose graph has run, links replaced by what stands there."""
    rows: list[list[tuple[object, ...]]] = []
    for call in expansion.calls:
        if call.expand is None:
            rows.append([(value,) for value in _flat(spec, call)])
            continue
        row: list[tuple[object, ...]] = []
        for declared, value in zip(spec.outputs, _flat(spec, call), strict=True):
            ref = as_link(value)
            found = (value,) if ref is None else values(ref) or ()
            row.append((list(found),) if ref is not None and declared.is_list else found)
        rows.append(row)
    return in_slots(spec, rows)


def in_slots(spec: NodeSpec, rows: list[list[tuple[object, ...]]]) -> tuple[tuple[object, ...], ...]:
    """Values per output slot, of rows with one tuple of values per slot."""
    slots: list[list[object]] = [[] for _ in spec.outputs]
    for row in rows:
        for slot, declared, items in zip(slots, spec.outputs, row, strict=True):
            for item in items:
                if not declared.is_list or isinstance(item, Blocker):
                    slot.append(item)
                elif isinstance(item, (list, tuple)):
                    slot.extend(item)
                else:
                    raise _wrong(spec, f"{type(item).__name__} for the list output {declared.name}")
    return tuple(map(tuple, slots))


def _flat(spec: NodeSpec, output: NodeOutput) -> tuple[object, ...]:
    if len(output.result) != len(spec.outputs):
        raise _wrong(spec, f"{len(output.result)} values for {len(spec.outputs)} outputs")
    return output.result


def _nth(ctx: Ctx, index: int) -> Ctx:
    return replace(ctx, call_index=index) if index else ctx


def _blocker(arguments: Mapping[str, object]) -> Blocker | None:
    """The first value that forbids this call, also inside a list that is taken whole."""
    for value in arguments.values():
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, Blocker):
                return item
    return None


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
        case "DYNPROMPT":
            return ctx.graph
        case _:
            return ctx.prompt
