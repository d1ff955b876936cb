"""@node builds the right spec and refuses wrong declarations."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Annotated, Any

import pytest

from orchestrator.graph.declare import BadDeclaration, NodeImpl, catalogue_of, collect, node
from orchestrator.graph.spec import Bool, Float, HiddenInput, Input, Int, Link, NodeOutput, OneOf, Output, Text

Image = Annotated["UnknownHere", Link("IMAGE")]  # noqa: F821  # an unresolvable name inside Annotated is fine
Pixels = Annotated[int, Int(min=0, max=64, step=8)]


@node(
    "Resize",
    category="image",
    display_name="Resize it",
    outputs=(("IMAGE", "IMAGE"), ("MASK", "mask")),
    lane="accelerator",
)
def resize(
    ctx: Any, image: Image, width: Pixels = 8, *, mask: Annotated[int, Link("MASK")] | None = None
) -> tuple[int, int]:
    """Changes the size.

    Keeps the aspect ratio.
    """
    return 1, 2


@node("Save", category="image", output_node=True, hidden=(("prompt", "PROMPT"),))
async def save(
    ctx: Any, images: Image, name: Annotated[str, Text()] = "a", *, prompt: object = None, **more: Any
) -> NodeOutput:
    return NodeOutput({"images": []})


def test_spec_of_a_function() -> None:
    impl: NodeImpl = resize.__node__
    spec = impl.spec
    assert spec.inputs == (
        Input("image", Link("IMAGE")),
        Input("width", Int(min=0, max=64, step=8, default=8)),
        Input("mask", Link("MASK"), required=False),
    )
    assert spec.outputs == (Output("IMAGE", "IMAGE"), Output("MASK", "mask"))
    assert (spec.id, spec.display_name, spec.lane, spec.output_node) == ("Resize", "Resize it", "accelerator", False)
    assert spec.description == "Changes the size.\n\nKeeps the aspect ratio."
    assert not impl.is_async and not impl.extra_inputs and not spec.fingerprinted
    assert resize(None, 1) == (1, 2)


def test_hidden_async_and_extra_inputs() -> None:
    impl: NodeImpl = save.__node__
    assert impl.spec.hidden == (HiddenInput("prompt", "PROMPT"),)
    assert [item.name for item in impl.spec.inputs] == ["images", "name"]
    assert impl.is_async and impl.extra_inputs and impl.spec.output_node


def test_optional_combo_shows_its_default_only_if_its_kind_says_so() -> None:
    @node("N", category="c")
    def silent(
        ctx: Any,
        *,
        a: Annotated[str, OneOf(("x", "y"))] = "y",
        b: Annotated[str, OneOf(("x", "y"), default="y")] = "y",
    ) -> None: ...

    kinds = [item.kind for item in silent.__node__.spec.inputs]
    assert [kind.default for kind in kinds] == [None, "y"]


def wrong_no_ctx(x: Pixels) -> None: ...
def wrong_no_kind(ctx: Any, x: int) -> None: ...
def wrong_two_kinds(ctx: Any, x: Annotated[int, Int(), Int()]) -> None: ...
def wrong_type(ctx: Any, x: Annotated[float, Int()]) -> None: ...
def wrong_default(ctx: Any, x: Pixels = 65) -> None: ...
def wrong_default_type(ctx: Any, x: Pixels = 1.5) -> None: ...  # type: ignore[assignment]
def wrong_choice(ctx: Any, x: Annotated[str, OneOf(("a",))] = "b") -> None: ...
def wrong_silent_choice(ctx: Any, *, x: Annotated[str, OneOf(("a",))] = "b") -> None: ...
def wrong_bool(ctx: Any, x: Annotated[bool, Bool(default="yes")]) -> None: ...
def wrong_twice(ctx: Any, x: Annotated[float, Float(default=1.0)] = 1.0) -> None: ...
def wrong_optional(ctx: Any, *, x: Pixels) -> None: ...
def wrong_positional(ctx: Any, *x: Pixels) -> None: ...
def wrong_return(ctx: Any, x: Pixels) -> tuple[int]: ...
def wrong_open_return(ctx: Any, x: Pixels) -> tuple[int, ...]: ...
def wrong_no_return(ctx: Any, x: Pixels): ...  # type: ignore[no-untyped-def]
def wrong_name(ctx: Any, x: NotImported) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("function", [f for name, f in list(globals().items()) if name.startswith("wrong_")])
def test_wrong_declarations_are_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(BadDeclaration, match="Bad"):
        node("Bad", category="c")(function)


def test_returned_values_must_match_outputs() -> None:
    with pytest.raises(BadDeclaration, match="returns 2 values but declares 1"):

        @node("Bad", category="c", outputs=(("A", "A"),))
        def two(ctx: Any) -> tuple[int, int]: ...


def test_hidden_inputs_need_parameters_and_known_types() -> None:
    for hidden in ((("prompt", "PROMPT"),), (("x", "SECRET"),)):
        with pytest.raises(BadDeclaration):

            @node("Bad", category="c", hidden=hidden)
            def function(ctx: Any, *, x: object = None) -> None: ...


def module(name: str, *functions: Callable[..., Any]) -> types.ModuleType:
    made = types.ModuleType(name)
    for index, function in enumerate(functions):
        setattr(made, f"f{index}", function)
    return made


def test_collect_takes_own_nodes_once() -> None:
    here = module(__name__, resize, save, len)
    impls = collect([here, module("other_that_imports_them", resize)])
    assert list(impls) == ["Resize", "Save"]
    assert list(catalogue_of(impls)) == ["Resize", "Save"]
    with pytest.raises(BadDeclaration, match="twice"):
        collect([here, here])


def test_with_lists_the_annotation_is_a_list_of_what_the_kind_says() -> None:
    def good(ctx: Any, x: Annotated[list[int], Int(default=1)]) -> None: ...
    def bad(ctx: Any, x: Annotated[list[str], Int(default=1)]) -> None: ...

    declared = node("Lists", category="test", input_is_list=True)(good)
    assert declared.__node__.spec.inputs[0].kind == Int(default=1)
    with pytest.raises(BadDeclaration, match="Int annotates"):
        node("Bad", category="test", input_is_list=True)(bad)
    with pytest.raises(BadDeclaration, match="Int annotates"):
        node("Bad", category="test")(good)
