"""`@node`: a typed function becomes a frozen NodeSpec; a wrong declaration stops the start."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType, ModuleType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import Bool, Float, Int, Kind, Link, OneOf, Text
from orchestrator.graph.spec import HiddenInput, Input, Lane, NodeOutput, NodeSpec, Output

Fingerprint = Callable[[Any, Mapping[str, object]], str | None]
"""(ctx, literal inputs) -> text that changes when the node must run again; None: it must always run."""

LazyCheck = Callable[..., Any]
"""(ctx, **inputs), None for what has not run -> names of lazy inputs that are needed; may be a coroutine function."""

_F = TypeVar("_F", bound=Callable[..., Any])
_HIDDEN = frozenset({"PROMPT", "EXTRA_PNGINFO", "UNIQUE_ID", "DYNPROMPT"})
_PYTHON_TYPES: Mapping[type[Kind], tuple[type, ...]] = MappingProxyType(
    {Int: (int,), Float: (float,), Text: (str,), Bool: (bool,)}
)


class BadDeclaration(TypeError):
    """A node is declared wrongly; raised at import, so that it cannot reach a running server."""


@dataclass(frozen=True)
class NodeImpl:
    """A spec with its code.

    `extra_inputs`: the function takes undeclared linked inputs by **kwargs. `expands`: it may return a graph.
    """

    spec: NodeSpec
    function: Callable[..., Any]
    fingerprint: Fingerprint | None
    is_async: bool
    extra_inputs: bool
    lazy: LazyCheck | None = None
    expands: bool = False


def node(
    class_type: str,
    *,
    category: str,
    outputs: Sequence[Output | tuple[str, str]] = (),
    display_name: str | None = None,
    python_module: str = "nodes",
    hidden: Sequence[tuple[str, str]] = (),
    lane: Lane = "cpu",
    output_node: bool = False,
    input_is_list: bool = False,
    deprecated: bool = False,
    experimental: bool = False,
    v3: bool = False,
    version: int = 1,
    idempotent: bool = True,
    fingerprint: Fingerprint | None = None,
    lazy: LazyCheck | None = None,
    expands: bool = False,
    description: str | None = None,
) -> Callable[[_F], _F]:
    """Declares the function as node class `class_type` and attaches the NodeImpl as `__node__`.

    First parameter `ctx`; then one parameter per input, its kind in `Annotated`; keyword-only = optional; hidden
    inputs are keyword-only parameters named in `hidden`. The docstring is the description. With `input_is_list` a
    parameter is a list of values: `Annotated[list[int], Int(...)]`.
    Raises BadDeclaration.
    """
    slots = tuple(slot if isinstance(slot, Output) else Output(*slot) for slot in outputs)
    hidden_inputs = tuple(HiddenInput(*item) for item in hidden)

    def declare(function: _F) -> _F:
        signature = _signature(class_type, function)
        spec = NodeSpec(
            id=class_type, category=category, outputs=slots,
            inputs=_inputs(class_type, signature, hidden_inputs, input_is_list),
            hidden=hidden_inputs, display_name=display_name, python_module=python_module,
            description=inspect.cleandoc(description if description is not None else function.__doc__ or ""),
            output_node=output_node, input_is_list=input_is_list, deprecated=deprecated, experimental=experimental,
            v3=v3, lane=lane, version=version, idempotent=idempotent, fingerprinted=fingerprint is not None,
        )  # fmt: skip
        _check(spec, signature)
        extra = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        is_async = inspect.iscoroutinefunction(function)
        if (lazy is None) != (not any(item.lazy for item in spec.inputs)):
            raise BadDeclaration(f"{class_type}: lazy inputs and a function that asks for them come together")
        impl = NodeImpl(spec, function, fingerprint, is_async, extra, lazy, expands)
        function.__node__ = impl  # type: ignore[attr-defined]  # functions take attributes; the type system cannot say so
        return function

    return declare


def collect(modules: Iterable[ModuleType]) -> Mapping[str, NodeImpl]:
    """All nodes declared in these modules, by class; refuses a class declared twice (BadDeclaration)."""
    found: dict[str, NodeImpl] = {}
    for module in modules:
        for value in vars(module).values():
            impl = getattr(value, "__node__", None)
            if not isinstance(impl, NodeImpl) or impl.function.__module__ != module.__name__:
                continue
            if impl.spec.id in found:
                raise BadDeclaration(f"{impl.spec.id}: declared twice ({module.__name__})")
            found[impl.spec.id] = impl
    return MappingProxyType(found)


def catalogue_of(impls: Mapping[str, NodeImpl]) -> Catalogue:
    """The specs alone."""
    return Catalogue.of(impl.spec for impl in impls.values())


def _signature(class_type: str, function: Callable[..., Any]) -> inspect.Signature:
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise BadDeclaration(f"{class_type}: annotation names something not imported at run time: {error}") from error
    if next(iter(signature.parameters), None) != "ctx":
        raise BadDeclaration(f"{class_type}: the first parameter must be ctx")
    return signature


def _inputs(
    class_type: str, signature: inspect.Signature, hidden: tuple[HiddenInput, ...], lists: bool
) -> tuple[Input, ...]:
    filled = {item.name for item in hidden}
    if missing := filled - set(signature.parameters):
        raise BadDeclaration(f"{class_type}: no parameter for hidden inputs {sorted(missing)}")
    if unknown := {item.type for item in hidden} - _HIDDEN:
        raise BadDeclaration(f"{class_type}: unknown hidden types {sorted(unknown)}")
    parameters = [p for name, p in signature.parameters.items() if name != "ctx" and name not in filled]
    return tuple(_input(class_type, p, lists) for p in parameters if p.kind is not p.VAR_KEYWORD)


def _input(class_type: str, parameter: inspect.Parameter, lists: bool) -> Input:
    where = f"{class_type}.{parameter.name}"
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise BadDeclaration(f"{where}: inputs are named parameters")
    base, kind = _annotated(where, parameter.annotation)
    optional = parameter.kind is parameter.KEYWORD_ONLY
    if optional and parameter.default is parameter.empty:
        raise BadDeclaration(f"{where}: an optional input needs a default")
    expected = _PYTHON_TYPES.get(type(kind))
    if lists and get_origin(base) is list:
        (base,) = get_args(base)
    if expected and base not in expected:
        raise BadDeclaration(f"{where}: {type(kind).__name__} annotates {base!r}")
    # An optional combo shows no default in ComfyUI unless its kind says so; the function's default works all the same.
    silent = isinstance(kind, Link) or (optional and isinstance(kind, OneOf))
    if parameter.default is not parameter.empty and parameter.default is not None:
        if kind.default is not None and (kind.default != parameter.default or not silent):
            raise BadDeclaration(f"{where}: the default is written twice")
        if problem := kind.problem(parameter.default):
            raise BadDeclaration(f"{where}: default {parameter.default!r} {problem}")
        if not silent:
            kind = replace(kind, default=parameter.default)
    if kind.default is not None and (problem := kind.problem(kind.default)):
        raise BadDeclaration(f"{where}: default {kind.default!r} {problem}")
    return Input(parameter.name, kind, not optional)


def _annotated(where: str, annotation: object) -> tuple[object, Kind]:
    """(Python type, kind) of `Annotated[T, kind]` or `Annotated[T, kind] | None`."""
    members = (annotation,) if get_origin(annotation) is Annotated else get_args(annotation)
    for member in members:
        if get_origin(member) is Annotated:
            base, *metadata = get_args(member)
            kinds = [item for item in metadata if isinstance(item, Kind)]
            if len(kinds) == 1:
                return base, kinds[0]
    raise BadDeclaration(f"{where}: needs exactly one kind, as Annotated[type, Kind(...)]")


def _check(spec: NodeSpec, signature: inspect.Signature) -> None:
    returned = signature.return_annotation
    if returned is NodeOutput or NodeOutput in get_args(returned):
        return  # the engine compares the length of `result` at run time
    if returned is None and not spec.outputs:
        return
    members = get_args(returned)
    if get_origin(returned) is not tuple or Ellipsis in members:
        raise BadDeclaration(f"{spec.id}: return annotation must be tuple[...], NodeOutput or None, not {returned!r}")
    if len(members) != len(spec.outputs):
        raise BadDeclaration(f"{spec.id}: returns {len(members)} values but declares {len(spec.outputs)} outputs")
