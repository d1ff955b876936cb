"""A node pack as people write them for ComfyUI: every feature of V1 classes once. It imports nothing of ours."""

from .flow import CLASSES as FLOW
from .images import CLASSES as IMAGES
from .questions import CLASSES as QUESTIONS

NODE_CLASS_MAPPINGS = {**IMAGES, **FLOW, **QUESTIONS}
NODE_DISPLAY_NAME_MAPPINGS = {"TourBlend": "Blend (tour)"}
WEB_DIRECTORY = "./js"
