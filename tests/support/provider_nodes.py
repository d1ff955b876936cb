"""A provider of nodes for tests: `python -m tests.support.provider_nodes ADDRESS FOLDER`; marks go into FOLDER."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from kit.node_values import Blocked
from node_host.nodes import Call, Expansion, Preview, ProvidedNode, Result, describe
from node_host.provider import serve

FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else Path()


class OddTrouble(Exception):
    """A provider's own class of errors."""


class Thing:
    """What only this provider understands."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.nbytes = 1000


def mark(name: str) -> None:
    with (FOLDER / name).open("a") as file:
        file.write("x")


def invert(call: Call, image: np.ndarray[Any, Any]) -> tuple[Any]:
    mark("invert")
    call.progress(1, 2, Preview("image/png", b"picture"))
    call.progress(2, 2)
    return (1 - image,)


def switch(call: Call, flag: bool, first: Any = None, second: Any = None) -> tuple[Any]:
    return (first if flag else second,)


def switch_needs(call: Call, flag: bool, **_: Any) -> list[str]:
    return ["first" if flag else "second"]


def repeat(call: Call, image: Any, times: int) -> Expansion:
    mark("repeat")
    graph, value = call.graph(), image
    for _ in range(times):
        value = graph.node("TInvert", image=value).out(0)
    return Expansion(graph, (value,))


def slow(call: Call, seconds: float) -> tuple[int]:
    mark("slow-began")
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            call.check_cancelled()
            time.sleep(0.01)
    except BaseException:
        mark("slow-cancelled")
        raise
    return (1,)


async def slow_async(call: Call, seconds: float) -> tuple[int]:
    mark("slow-began")
    try:
        await asyncio.sleep(seconds)
    except BaseException:
        mark("slow-cancelled")
        raise
    return (1,)


def fail(call: Call, text: str) -> None:
    raise OddTrouble(text)


def count(call: Call, value: int) -> tuple[int]:
    mark("count")
    return (value,)


def always(call: Call, value: int) -> tuple[int]:
    mark("always")
    return (value,)


def only_even(value: Any, image: Any, input_types: dict[str, str]) -> Any:
    if image is not None or input_types.get("image") not in ("IMAGE", None):
        return "image is no picture"
    return True if value % 2 == 0 else f"{value} is odd"


def block(call: Call, image: Any, stop: bool) -> tuple[Any]:
    return (Blocked("no picture today") if stop else image,)


def make(call: Call, number: int) -> tuple[Thing]:
    mark("make")
    return (Thing(number),)


def use(call: Call, thing: Thing, plus: int) -> tuple[int]:
    mark("use")
    return (thing.number + plus,)


def show(call: Call, value: Any) -> Result:
    text = f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else str(value)
    return Result(ui={"text": [text]})


def latent(call: Call, samples: dict[str, Any], model: Any = None) -> tuple[Any, ...]:
    return ({**samples, "samples": samples["samples"] + 1}, samples)


def numbers(call: Call, value: list[int]) -> tuple[list[int]]:
    return (list(range(value[0])),)


def total(call: Call, value: list[int]) -> tuple[int]:
    return (sum(value),)


def big(call: Call, side: int, image: Any = None) -> tuple[Any]:
    return (np.full((1, side, side, 3), 0.5 if image is None else float(image.mean()), np.float32),)


def add_all(call: Call, first: int, **more: int) -> tuple[int]:
    return (first + sum(more.values()),)


def sees(call: Call, me: str, prompt: dict[str, Any], graph: dict[str, Any], extra: Any) -> Result:
    return Result(ui={"text": [me, sorted(prompt), sorted(graph), extra]})


def node(
    name: str, function: Any, required: dict[str, Any], outputs: Any = (("INT", "INT"),), **more: Any
) -> ProvidedNode:
    hidden = more.pop("hidden", None)
    optional, shown, lists = more.pop("optional", None), more.pop("output_node", False), more.pop("list_outputs", ())
    inputs = {
        "required": required,
        **({"optional": optional} if optional else {}),
        **({"hidden": hidden} if hidden else {}),
    }
    info = describe(inputs, outputs, category="test", output_node=shown, list_outputs=lists)
    return ProvidedNode(name, function, info, **more)


IMAGE = (("IMAGE", "IMAGE"),)
ANY = (("*", "*"),)
SEEN = {"me": "UNIQUE_ID", "prompt": "PROMPT", "graph": "DYNPROMPT", "extra": "EXTRA_PNGINFO", "key": "API_KEY"}
BOTH = {name: ["*", {"lazy": True}] for name in ("first", "second")}
NODES = [
    node("TInvert", invert, {"image": ["IMAGE"]}, IMAGE),
    node("TSwitch", switch, {"flag": ["BOOLEAN", {}]}, ANY, optional=BOTH, lazy=switch_needs),
    node("TRepeat", repeat, {"image": ["IMAGE"], "times": ["INT", {"min": 0}]}, IMAGE, expands=True),
    node("TSlow", slow, {"seconds": ["FLOAT", {}]}),
    node("TSlowAsync", slow_async, {"seconds": ["FLOAT", {}]}, schedule="async"),
    node("TFail", fail, {"text": ["STRING", {}]}, output_node=True),
    node("TCount", count, {"value": ["INT", {}]}),
    node("TAlways", always, {"value": ["INT", {}]}, fingerprint=lambda value: float("nan")),
    node("TFile", count, {"value": ["INT", {}]}, fingerprint=lambda: (FOLDER / "file").read_text()),
    node("TEven", count, {"value": ["INT", {"max": 3}]}, optional={"image": ["IMAGE"]}, validate=only_even),
    node("TBlock", block, {"image": ["IMAGE"], "stop": ["BOOLEAN", {}]}, IMAGE),
    node("TMake", make, {"number": ["INT", {}]}, (("THING", "THING"),)),
    node("TUse", use, {"thing": ["THING"], "plus": ["INT", {}]}),
    node("TShow", show, {"value": ["*"]}, (), output_node=True),
    node("TLatent", latent, {"samples": ["LATENT"]}, (("LATENT", "more"), ("*", "same"))),
    node("TNumbers", numbers, {"value": ["INT", {}]}, input_is_list=True, list_outputs=(0,)),
    node("TTotal", total, {"value": ["INT", {}]}, input_is_list=True),
    node("TBig", big, {"side": ["INT", {}]}, IMAGE, optional={"image": ["IMAGE"]}),
    node("TAddAll", add_all, {"first": ["INT", {}]}, extra_inputs=True),
    node("TAnything", show, {"value": ["NOTHING"]}, (), output_node=True, any_type_inputs=("value",)),
    node("TNothing", count, {"value": ["INT", {}]}, (("NOTHING", "NOTHING"),), any_type_outputs=(0,)),
    node("TSees", sees, {}, (), output_node=True, hidden=SEEN),
    node("EmptyImage", count, {"value": ["INT", {}]}),
]  # fmt: skip

if __name__ == "__main__":
    serve(sys.argv[1], NODES)
