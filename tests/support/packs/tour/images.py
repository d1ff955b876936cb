"""Pictures, lists, progress, files."""

import os

import comfy.utils
import folder_paths
import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from nodes import PreviewImage
from PIL import Image
from server import PromptServer


class TourTrouble(Exception):
    pass


@PromptServer.instance.routes.get("/tour/never")
async def never(request):
    return None


def mark(name):
    with open(os.path.join(folder_paths.get_temp_directory(), name), "a") as file:
        file.write("x")


class Blend:
    """Lazy inputs and a progress bar with a picture."""

    @classmethod
    def INPUT_TYPES(cls):
        picture = ("IMAGE", {"lazy": True})
        return {"required": {"one": picture, "two": picture, "share": ("FLOAT", {"default": 0.5, "min": 0, "max": 1})}}

    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("picture", "brightness")
    FUNCTION = "blend"
    CATEGORY = "tour/image"
    DESCRIPTION = "Blends two pictures."

    def check_lazy_status(self, one, two, share):
        if share < 0:
            raise TourTrouble("no share is less than nothing")
        return [name for name, wanted in (("one", share < 1), ("two", share > 0)) if wanted]

    def blend(self, one, two, share):
        bar = comfy.utils.ProgressBar(2)
        bar.update_absolute(1, 2, ("JPEG", Image.new("RGB", (8, 4), "red"), 4))
        assert all(part is None or (part.dtype, part.ndim) == (torch.float32, 4) for part in (one, two))
        made = one if share == 0 else two if share == 1 else one * (1 - share) + two * share
        bar.update(1)
        return (made, made[0].mean(dim=-1))  # a mask without a batch, as packs often give it


class Darken:
    """Changes what it got, which a pack should not and does."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "latent": ("LATENT",), "by_numpy": ("BOOLEAN", {"default": False})}}

    RETURN_TYPES = ("IMAGE", "LATENT")
    FUNCTION = "darken"
    CATEGORY = "tour/image"

    def darken(self, image, latent, by_numpy):
        if by_numpy:
            image.numpy()[...] *= 0.5
            latent["samples"].numpy()[...] += 1
        else:
            image.mul_(0.5)
            latent["samples"].add_(1)
        return (image, latent)


class Pick:
    """Choices that are files, and a default from a list of models."""

    @classmethod
    def INPUT_TYPES(cls):
        files = sorted(os.listdir(folder_paths.get_input_directory()))
        return {
            "required": {"image": (files, {"image_upload": True}), "model": (folder_paths.get_filename_list("loras"),)}
        }

    RETURN_TYPES = ("STRING", "INT")
    FUNCTION = "pick"
    CATEGORY = "tour/file"

    @classmethod
    def IS_CHANGED(cls, image, model):
        return os.path.getmtime(folder_paths.get_annotated_filepath(image))

    def pick(self, image, model):
        mark("pick")
        with open(folder_paths.get_annotated_filepath(image)) as file:
            return (file.read(), len(folder_paths.get_full_path_or_raise("loras", model)))


class Show(PreviewImage):
    """Derived from one of ComfyUI's classes."""

    CATEGORY = "tour/image"


class Report:
    """Shows whatever comes, as text."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"value": ("*", {})},
            "hidden": {"prompt": "PROMPT", "extra": "EXTRA_PNGINFO", "me": "UNIQUE_ID"},
        }

    RETURN_TYPES = ()
    FUNCTION = "report"
    CATEGORY = "tour"
    OUTPUT_NODE = True

    def report(self, value, prompt, extra, me):
        assert prompt[me]["class_type"] == "TourReport"
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
        return {"ui": {"text": (text,), "extra": [sorted(extra or {})]}}


class Statistics:
    """Numbers about a picture."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    RETURN_TYPES = ("FLOAT", "STRING")
    FUNCTION = "look"
    CATEGORY = "tour/image"

    def look(self, image):
        return (image.mean().item(), "x".join(map(str, image.shape)))


class Fails:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"how": (["own", "builtin", "missing", "model"],)}, "optional": {"model": ("MODEL",)}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "fail"
    CATEGORY = "tour"

    def fail(self, how, model=None):
        if how == "own":
            raise TourTrouble("it did not go well")
        if how == "builtin":
            return (1 // 0,)
        if how == "model":
            return (model.clone(),)
        import comfy.sd

        return (comfy.sd.load_checkpoint_guess_config("x"),)


class Slow:
    """Works until somebody cancels it: by asking, by progress, or without ever looking."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"how": (["asks", "blind"],)}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "work"
    CATEGORY = "tour"

    def work(self, how):
        mark("slow_began")
        try:
            comfy.utils.ProgressBar(10).update(1)
            while True:
                if how == "asks":
                    throw_exception_if_processing_interrupted()
                sum(range(1000))
        finally:
            mark("slow_ended")


class Pass:
    """Hands on what it got."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "conditioning": ("CONDITIONING",), "vae": ("VAE",)}}

    RETURN_TYPES = ("MODEL", "CONDITIONING", "VAE", "TOUR_PIPE")
    FUNCTION = "hand"
    CATEGORY = "tour"

    def hand(self, model, conditioning, vae):
        import node_helpers

        changed = node_helpers.conditioning_set_values(conditioning, {"strength": 0.25})
        return (model, changed, vae, (model, vae, {"left": 1}))


class Unpack:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"pipe": ("TOUR_PIPE",)}}

    RETURN_TYPES = ("MODEL", "VAE")
    FUNCTION = "unpack"
    CATEGORY = "tour"

    def unpack(self, pipe):
        assert isinstance(pipe, tuple) and pipe[2] == {"left": 1}
        return pipe[:2]


CLASSES = {
    "TourBlend": Blend,
    "TourDarken": Darken,
    "TourFails": Fails,
    "TourPass": Pass,
    "TourPick": Pick,
    "TourReport": Report,
    "TourShow": Show,
    "TourSlow": Slow,
    "TourStatistics": Statistics,
    "TourUnpack": Unpack,
}
