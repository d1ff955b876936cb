"""Classes that are asked before they run: IS_CHANGED, VALIDATE_INPUTS, check_lazy_status."""

from .images import mark


class Changing:
    """Runs again when it says so; what it is linked to it does not know then."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"how": (["same", "nan", "fails"],), "link": ("INT", {"forceInput": True})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "tour/question"

    @classmethod
    def IS_CHANGED(cls, how, link):
        assert link is None
        if how == "fails":
            raise ValueError("nobody knows")
        return float("NaN") if how == "nan" else how

    def run(self, how, link):
        mark("changing")
        return (link,)


class Named:
    """Refuses by name, with a reason."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"min": 0, "max": 10}), "linked": ("INT", {"default": 0})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "tour/question"

    @classmethod
    def VALIDATE_INPUTS(cls, value, linked):
        if linked is not None and linked > 5:
            return "linked is known and too large"
        return "thirteen is not allowed" if value == 13 else True

    def run(self, value, linked):
        return (value + linked,)


class Typed:
    """Looks at the types of its links."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("IMAGE,FLOAT",)}}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "tour/question"

    @classmethod
    async def VALIDATE_INPUTS(cls, input_types):
        kind = input_types.get("value")
        return True if kind in ("INT", "FLOAT", None) else f"not for {kind}"

    def run(self, value):
        return (str(value),)


class Everything:
    """Takes all inputs, and raises."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT", {"default": 1}), "b": ("INT", {"forceInput": True})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "tour/question"

    @classmethod
    def VALIDATE_INPUTS(cls, **kwargs):
        assert kwargs["b"] is None
        if kwargs["a"] == 2:
            raise ValueError("two is too much")
        return kwargs["a"] != 3

    def run(self, a, b):
        return (a + b,)


class Waits:
    """Asks for its lazy input by and by, in a coroutine."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"first": ("INT", {"lazy": True}), "second": ("INT", {"lazy": True})}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "tour/question"

    async def check_lazy_status(self, first, second):
        if first is None:
            return ["first"]
        return ["second"] if second is None and first > 1 else []

    def run(self, first, second):
        return (-1 if second is None else second,)


CLASSES = {
    "TourChanging": Changing,
    "TourEverything": Everything,
    "TourNamed": Named,
    "TourTyped": Typed,
    "TourWaits": Waits,
}
