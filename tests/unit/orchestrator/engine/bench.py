"""A small engine on fake nodes: same classes as recorded, integers for pictures; events as ComfyUI's messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Annotated, Any, cast

from orchestrator.engine import events
from orchestrator.engine.cache import ResultCache
from orchestrator.engine.cancel import Cancel
from orchestrator.engine.outcome import Outcome
from orchestrator.engine.run import Engine
from orchestrator.graph.declare import NodeImpl, node
from orchestrator.graph.prompt import from_json
from orchestrator.graph.spec import Int, Link, NodeOutput, Output, Text
from orchestrator.ports import Artifacts, Ctx, Models, PreviewImage, Progress

Image = Annotated[Any, Link("IMAGE")]
Anything = Annotated[Any, Link("*")]
Size = Annotated[int, Int(default=8, min=1, max=64)]


class Bench:
    """Runs prompts; `log` has class and node id of every call, `files` the ui objects that savers hand out in turn."""

    def __init__(
        self, *extra: Callable[..., Any], cpu_slots: int = 1, max_bytes: int = 1 << 20, debug: bool = False
    ) -> None:
        self.log: list[tuple[str, str]] = []
        self.files: list[dict[str, str]] = []
        self.cancel = Cancel()
        functions = [*self._nodes(), *extra]
        self.impls: dict[str, NodeImpl] = {cast(Any, f).__node__.spec.id: cast(Any, f).__node__ for f in functions}
        self.cache = ResultCache(max_bytes)
        self.engine = Engine(self.impls, self.cache, cpu_slots=cpu_slots, debug=debug)
        self.events: list[events.Event] = []
        self.on_event: Callable[[events.Event], None] = lambda event: None

    def run(self, prompt: Mapping[str, Any], outputs: list[str] | None = None) -> Outcome:
        """One run to its end; `outputs` None: all output nodes of the prompt."""
        wanted = outputs if outputs is not None else [i for i, n in prompt.items() if self._is_output(n["class_type"])]
        self.events = []
        self.cancel = Cancel()

        def emit(event: events.Event) -> None:
            self.events.append(event)
            self.on_event(event)

        return asyncio.run(self.engine.run(from_json(dict(prompt)), wanted, self._ctx, emit, self.cancel))

    def messages(self) -> list[dict[str, Any]]:
        """The events as messages of the socket, without prompt ids and times."""
        return [message(event) for event in self.events if not isinstance(event, events.Previewed)]

    def _is_output(self, class_type: str) -> bool:
        return class_type in self.impls and self.impls[class_type].spec.output_node

    def _ctx(self, node_id: str, node_type: str, progress: Progress, check_cancelled: Callable[[], None]) -> Ctx:
        nothing = cast(Any, None)
        return Ctx(
            run_id="r", node_id=node_id, prompt={"the": "prompt"}, extra_pnginfo={"workflow": 1},
            models=cast(Models, nothing), artifacts=cast(Artifacts, nothing), progress=progress,
            check_cancelled=check_cancelled, span=lambda name: nullcontext(),
        )  # fmt: skip

    def _nodes(self) -> list[Callable[..., Any]]:
        def note(ctx: Ctx, class_type: str) -> None:
            self.log.append((class_type, ctx.node_id))

        @node("EmptyImage", category="image", outputs=(("IMAGE", "IMAGE"),))
        def empty_image(ctx: Ctx, width: Size, color: Annotated[int, Int(default=0)]) -> tuple[int]:
            note(ctx, "EmptyImage")
            return (color,)

        @node("ImageInvert", category="image", outputs=(("IMAGE", "IMAGE"),))
        def image_invert(ctx: Ctx, image: Image) -> tuple[int]:
            note(ctx, "ImageInvert")
            return (-image,)

        @node("SaveImage", category="image", output_node=True, hidden=(("prompt", "PROMPT"),))
        def save_image(
            ctx: Ctx, images: Image, filename_prefix: Annotated[str, Text()], *, prompt: Any = None
        ) -> NodeOutput:
            note(ctx, "SaveImage")
            assert prompt == {"the": "prompt"}
            return NodeOutput({"images": [cast(Any, self.files.pop(0))]})

        @node("PreviewImage", category="image", output_node=True)
        def preview_image(ctx: Ctx, images: Image) -> NodeOutput:
            note(ctx, "PreviewImage")
            return NodeOutput({"images": [cast(Any, self.files.pop(0))]})

        @node("RebatchImages", category="image", outputs=(Output("IMAGE", "IMAGE", True),), input_is_list=True)
        def rebatch_images(ctx: Ctx, images: Image, batch_size: Annotated[int, Int()]) -> tuple[list[int]]:
            note(ctx, "RebatchImages")
            assert isinstance(images, list) and isinstance(batch_size, list)
            return ([10, 20, 30],)

        @node("SaveImageWebsocket", category="image", output_node=True)
        def save_image_websocket(ctx: Ctx, images: Image) -> NodeOutput:
            for step in range(2):
                ctx.progress(step, 2, PreviewImage("image/png", b"png"))
            return NodeOutput()

        return [empty_image, image_invert, save_image, preview_image, rebatch_images, save_image_websocket]


def message(event: events.Event) -> dict[str, Any]:
    """As the socket shows it."""
    match event:
        case events.Started():
            return {"type": "execution_start", "data": {}}
        case events.Cached(node_ids):
            return {"type": "execution_cached", "data": {"nodes": list(node_ids)}}
        case events.NodeStates(nodes):
            shown = {state.node_id: _state(state) for state in nodes}
            return {"type": "progress_state", "data": {"nodes": shown}}
        case events.Executing(node_id, display):
            return {"type": "executing", "data": {"node": node_id, "display_node": display}}
        case events.Progress(node_id, value, maximum):
            return {"type": "progress", "data": {"value": value, "max": maximum, "node": node_id}}
        case events.Executed(node_id, display, output):
            return {"type": "executed", "data": {"node": node_id, "display_node": display, "output": output}}
        case events.Succeeded():
            return {"type": "execution_success", "data": {}}
        case events.Interrupted(node_id, node_type, executed):
            data = {"node_id": node_id, "node_type": node_type, "executed": list(executed)}
            return {"type": "execution_interrupted", "data": data}
        case events.Failed():
            return {"type": "execution_error", "data": _failure(event)}
    raise AssertionError(event)


def _state(state: events.NodeState) -> dict[str, Any]:
    return {
        "value": state.value,
        "max": state.max,
        "state": "finished" if state.finished else "running",
        "node_id": state.node_id,
        "display_node_id": state.display_node_id,
        "parent_node_id": state.parent_node_id or None,
        "real_node_id": state.real_node_id,
    }


def _failure(event: events.Failed) -> dict[str, Any]:
    return {
        "node_id": event.node_id,
        "node_type": event.node_type,
        "executed": list(event.executed),
        "exception_message": event.exception_message,
        "exception_type": event.exception_type,
        "traceback": list(event.traceback),
        "current_inputs": event.current_inputs,
        "current_outputs": list(event.current_outputs),
    }
