"""comfy.model_management: packs compute on the CPU here; models stay with the engine."""

from __future__ import annotations

import gc
import os
from enum import Enum
from typing import Any

import torch

from node_host.surface import running
from node_host.surface.running import InterruptProcessingException

__all__ = ["InterruptProcessingException"]


class VRAMState(Enum):
    """How much memory the accelerator has."""

    DISABLED = 0
    NO_VRAM = 1
    LOW_VRAM = 2
    NORMAL_VRAM = 3
    HIGH_VRAM = 4
    SHARED = 5


class CPUState(Enum):
    """What computes."""

    GPU = 0
    CPU = 1
    MPS = 2


vram_state = VRAMState.DISABLED
set_vram_to = VRAMState.DISABLED
cpu_state = CPUState.CPU
lowvram_available = False
XFORMERS_IS_AVAILABLE = False
OOM_EXCEPTION = torch.cuda.OutOfMemoryError
current_loaded_models: list[Any] = []
_CPU = torch.device("cpu")


def throw_exception_if_processing_interrupted() -> None:
    """Raises InterruptProcessingException once the run is cancelled."""
    running.check_interrupted()


def processing_interrupted() -> bool:
    """Whether the run is cancelled."""
    entry = running.current()
    return entry is not None and entry.call.cancelled


def interrupt_current_processing(value: bool = True) -> None:
    """Cancels the running node."""
    entry = running.current()
    if value and entry is not None:
        entry.call.cancel()


def get_torch_device(*_: Any, **__: Any) -> torch.device:
    """The CPU, whatever is asked for."""
    return _CPU


intermediate_device = unet_offload_device = unet_inital_load_device = get_torch_device
text_encoder_device = text_encoder_offload_device = text_encoder_initial_device = get_torch_device
vae_device = vae_offload_device = get_torch_device


def get_torch_device_name(device: Any) -> str:
    """For people."""
    return str(device)


def get_autocast_device(dev: Any) -> str:
    """Name for torch.autocast."""
    return getattr(dev, "type", "cpu")


def is_device_cpu(device: Any) -> bool:
    """Whether it is the CPU."""
    return getattr(device, "type", str(device)) == "cpu"


def cpu_mode() -> bool:
    """Always."""
    return True


def _no(*_: Any, **__: Any) -> bool:
    return False


mps_mode = is_nvidia = is_amd = is_intel_xpu = is_directml_enabled = xformers_enabled = xformers_enabled_vae = _no
is_device_mps = is_device_cuda = should_use_fp16 = should_use_bf16 = supports_fp8_compute = _no
pytorch_attention_enabled = pytorch_attention_enabled_vae = device_supports_non_blocking = _no


def unet_dtype(*_: Any, **__: Any) -> torch.dtype:
    """float32."""
    return torch.float32


vae_dtype = text_encoder_dtype = intermediate_dtype = unet_dtype


def dtype_size(dtype: torch.dtype) -> int:
    """Bytes of an element."""
    return dtype.itemsize


def module_size(module: torch.nn.Module) -> int:
    """Bytes of a module's tensors."""
    return sum(tensor.nbytes for tensor in module.state_dict().values())


def get_free_memory(dev: Any = None, torch_free_too: bool = False) -> Any:
    """Bytes of the machine's memory."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (free, free) if torch_free_too else free


def get_total_memory(dev: Any = None, torch_total_too: bool = False) -> Any:
    """Bytes of the machine's memory."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (total, total) if torch_total_too else total


def soft_empty_cache(force: bool = False) -> None:
    """Lets go of what nobody holds."""
    gc.collect()


def unload_all_models(*_: Any, **__: Any) -> None:
    """Nothing to do: no model is here."""


free_memory = cleanup_models = cleanup_models_gc = unload_all_models


def cast_to_device(tensor: torch.Tensor, device: Any, dtype: Any, copy: bool = False) -> torch.Tensor:
    """`tensor.to`."""
    return tensor.to(device, dtype, copy=copy)
