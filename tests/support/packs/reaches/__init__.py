"""A pack that cannot be had: it reaches into models when it is imported."""

from comfy.sd import VAE

NODE_CLASS_MAPPINGS = {"Reaches": VAE}
