"""Small prompts in API form."""

from __future__ import annotations

from typing import Any

Graph = dict[str, Any]
CHECKPOINT = "synth_sd15_mini.safetensors"


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def plain(colour: int = 0, side: int = 16) -> Graph:
    """A picture without any network, shown."""
    return {
        "1": node("EmptyImage", width=side, height=side, batch_size=1, color=colour),
        "2": node("PreviewImage", images=["1", 0]),
    }


def shown(image: list[Any], **nodes: Any) -> Graph:
    """Some nodes, and a preview of one's output."""
    return {**nodes, "show": node("PreviewImage", images=image)}


def loaded(name: str) -> Graph:
    """A picture file, shown."""
    return shown(["1", 0], **{"1": node("LoadImage", image=name)})


def text_to_image(
    checkpoint: str = CHECKPOINT, *, steps: int = 1, side: int = 64, seed: int = 1, text: str = "a", batch: int = 1
) -> Graph:
    """The usual chain, small, on the synthetic checkpoint."""
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "2": node("CLIPTextEncode", text=text, clip=["1", 1]),
        "3": node("EmptyLatentImage", width=side, height=side, batch_size=batch),
        "4": node(
            "KSampler", model=["1", 0], seed=seed, steps=steps, cfg=1.0, sampler_name="euler", scheduler="normal",
            positive=["2", 0], negative=["2", 0], latent_image=["3", 0], denoise=1.0,
        ),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "6": node("PreviewImage", images=["5", 0]),
    }  # fmt: skip


def with_lora(name: str, **more: Any) -> Graph:
    """The same with a LoRA."""
    graph = text_to_image(**more)
    graph["lora"] = node(
        "LoraLoader", model=["1", 0], clip=["1", 1], lora_name=name, strength_model=1.0, strength_clip=1.0
    )
    graph["4"]["inputs"]["model"] = ["lora", 0]
    graph["2"]["inputs"]["clip"] = ["lora", 1]
    return graph
