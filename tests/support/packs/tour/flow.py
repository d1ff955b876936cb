"""Lists, expansion, blockers, coroutines."""

import asyncio

from comfy.comfy_types import IO, ComfyNodeABC, InputTypeDict
from comfy_api.latest import ComfyAPI
from comfy_execution.graph import ExecutionBlocker
from comfy_execution.graph_utils import GraphBuilder, is_link

api = ComfyAPI()


class Whatever(str):
    """A type that fits every other."""

    def __ne__(self, other):
        return False


ANYTHING = Whatever("*")


class MakeList:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"count": ("INT", {"default": 3})}, "optional": {"blocked": ("INT", {"default": -1})}}

    RETURN_TYPES = ("INT",)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "make"
    CATEGORY = "tour/list"

    def make(self, count, blocked=-1):
        return ([ExecutionBlocker(None) if number == blocked else number for number in range(count)],)


class Sum:
    INPUT_IS_LIST = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"numbers": ("INT", {"forceInput": True}), "times": ("INT", {"default": 1})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "add"
    CATEGORY = "tour/list"

    def add(self, numbers, times):
        assert isinstance(times, list) and len(times) == 1
        return (sum(numbers) * times[0],)


class Double:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"number": ("INT", {"forceInput": True})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "double"
    CATEGORY = "tour/list"

    def double(self, number):
        return (2 * number,)


class Stop:
    """Blocks what is behind it, with a message."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANYTHING,), "message": ("STRING", {"default": ""})}}

    RETURN_TYPES = (ANYTHING,)
    FUNCTION = "stop"
    CATEGORY = "tour/flow"

    def stop(self, value, message):
        return ExecutionBlocker(message or None)


class Power:
    """2 ** times, by expanding into itself: every second call of a list gives a value at once."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"times": ("INT", {"default": 1}), "so_far": ("INT", {"default": 1})}}

    RETURN_TYPES = ("INT", "STRING")
    FUNCTION = "grow"
    CATEGORY = "tour/flow"

    def grow(self, times, so_far):
        if times == 0:
            return (so_far, "done")
        graph = GraphBuilder()
        twice = graph.node("TourDoubleLiteral", number=so_far)
        again = graph.node("TourPower", times=times - 1, so_far=twice.out(0))
        assert is_link(again.out(0)) and not is_link([again.id, "0"])
        again.set_override_display_id("shown")
        return {"result": (again.out(0), "grown"), "expand": graph.finalize()}


class DoubleLiteral(Double):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"number": ("INT", {"default": 0})}}


class Tint:
    """Puts what came in, a picture, into the graph as a value."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "tint"
    CATEGORY = "tour/flow"

    def tint(self, image):
        graph = GraphBuilder()
        turned = graph.node("ImageInvert", image=image)
        return {"result": (turned.out(0),), "expand": graph.finalize()}


class Links:
    """Sees a link itself, the whole graph and where it is in it."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"number": ("INT", {"rawLink": True})},
            "hidden": {"graph": "DYNPROMPT", "me": "UNIQUE_ID", "token": "AUTH_TOKEN_COMFY_ORG"},
        }

    RETURN_TYPES = ("STRING",)
    FUNCTION = "look"
    CATEGORY = "tour/flow"

    def look(self, number, graph, me, token):
        source = graph.get_node(number[0])
        return (f"{number[0]} {source['class_type']} {graph.get_parent_node_id(me)} {graph.has_node('x')} {token}",)


class Collect:
    """Takes links that it does not declare."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"first": ("INT", {"forceInput": True})}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "collect"
    CATEGORY = "tour/flow"

    def collect(self, first, **others):
        return (" ".join(f"{name}={value}" for name, value in sorted({"first": first, **others}.items())),)


class Meet(ComfyNodeABC):
    """Ends only when as many as `parties` are there: they must run at the same time."""

    waiting = {}

    @classmethod
    def INPUT_TYPES(cls) -> InputTypeDict:
        return {"required": {"name": (IO.STRING, {}), "parties": (IO.INT, {"default": 2})}}

    RETURN_TYPES = (IO.STRING,)
    FUNCTION = "meet"
    CATEGORY = "tour/async"

    async def meet(self, name, parties):
        await api.execution.set_progress(value=1, max_value=2)
        here, all_here = self.waiting.setdefault(parties, ([], asyncio.Event()))
        here.append(name)
        if len(here) >= parties:
            all_here.set()
        async with asyncio.timeout(20):
            await all_here.wait()
        return (name.upper(),)


class Thing:
    """What only this pack understands."""


class MakeThing:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("TOUR_THING", "TOUR_TABLE")
    FUNCTION = "make"
    CATEGORY = "tour"

    def make(self):
        return (Thing(), {1: "one", "two": {3, 4}})


class UseThing:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"thing": ("TOUR_THING",), "table": ("TOUR_TABLE",)}}

    RETURN_TYPES = ("BOOLEAN",)
    FUNCTION = "use"
    CATEGORY = "tour"

    def use(self, thing, table):
        return (isinstance(thing, Thing) and table == {1: "one", "two": {3, 4}},)


CLASSES = {
    "TourCollect": Collect,
    "TourDouble": Double,
    "TourDoubleLiteral": DoubleLiteral,
    "TourLinks": Links,
    "TourMakeList": MakeList,
    "TourMakeThing": MakeThing,
    "TourMeet": Meet,
    "TourPower": Power,
    "TourStop": Stop,
    "TourSum": Sum,
    "TourTint": Tint,
    "TourUseThing": UseThing,
}
