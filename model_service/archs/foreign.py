"""Families that we recognise and do not serve, so that the refusal can name them. Data only; the first hit counts."""

from __future__ import annotations

from collections.abc import Iterable

# family -> groups of name parts; a group hits when each of its parts occurs in some tensor name
FAMILIES: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    (
        "LoRA or another adapter",
        (("lora_unet_",), ("lora_te",), (".lora_up.",), (".lora_A.",), (".hada_w1_a",), (".lokr_w1",)),
    ),
    ("textual inversion", (("emb_params",), ("string_to_param",))),
    ("ControlNet", (("control_model.",), ("input_hint_block.",), ("controlnet_cond_embedding.",))),
    ("GLIGEN", (("position_net.",),)),
    ("SDXL", (("conditioner.embedders.",), ("label_emb.", "input_blocks.4.1.transformer_blocks.1."))),
    ("unCLIP", (("embedder.model.visual.",), ("noise_augmentor.",))),
    ("SD2.x", (("cond_stage_model.model.",),)),
    ("UNet with class embedding (SDXL, unCLIP, upscaler)", (("label_emb.", "input_blocks."),)),
    ("SD3", (("joint_blocks.0.",),)),
    ("Flux", (("double_blocks.0.img_attn.",),)),
    ("Wan", (("blocks.0.self_attn.q.", "head.modulation"),)),
    ("Wan autoencoder", (("decoder.middle.0.residual.",),)),
    ("HunyuanVideo", (("txt_in.individual_token_refiner.",),)),
    ("LTX-Video", (("transformer_blocks.0.attn1.q_norm.", "patchify_proj."),)),
    ("PixArt", (("t_block.1.", "y_embedder."),)),
    ("Stable Cascade", (("clip_txt_mapper.",), ("effnet_mapper.",))),
    ("T5 text encoder", (("SelfAttention.k.weight",),)),
    ("OpenCLIP text encoder", (("transformer.resblocks.",), ("text_model.encoder.layers.22.",))),
    ("CLIP vision model", (("vision_model.encoder.layers.",),)),
    ("diffusers' UNet layout", (("down_blocks.0.resnets.", "conv_in."),)),
    ("diffusers' autoencoder layout", (("decoder.up_blocks.",),)),
    ("T2I adapter", (("body.0.block1.",), ("adapter.body.",), ("body.0.resnets.",))),
    ("upscaler", (("conv_first.",), ("model.1.sub.",), ("params_ema",), ("layers.0.residual_group.",))),
    ("hypernetwork", (("linear.0.weight", "activation_func"),)),
)


def recognise(names: Iterable[str]) -> str | None:
    """Name of the family that these tensor names betray, None where they tell nothing."""
    joined = "\n".join(names)
    for family, groups in FAMILIES:
        if any(all(part in joined for part in group) for group in groups):
            return family
    return None
