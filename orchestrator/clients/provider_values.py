"""Our values <-> what a provider sees, within one call: tensors as arrays, latents as maps, models as opaque ids."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import ml_dtypes
import numpy as np

from kit.errors import InvalidRequest, Unready
from kit.node_values import Blocked, FileName, HandleRef, HostRef, NodeLink, SameAs
from orchestrator.clients.provider_link import ProviderLink
from orchestrator.graph.spec import Blocker, NodeSpec, Output
from orchestrator.values.models import Clip, Model, Vae
from orchestrator.values.tensors import CondEntry, Latent

if TYPE_CHECKING:
    import torch

_AREAS = ("input", "output", "temp")
_TYPES = {Model: "MODEL", Clip: "CLIP", Vae: "VAE"}
_SIDES = {"IMAGE": (4, "[B, H, W, C]"), "MASK": (3, "[B, H, W]")}
_PLAIN = (bool, int, float, str, bytes, bytearray, list, tuple, np.ndarray, np.generic)
_WIRE = (Blocked, FileName, HandleRef, HostRef, NodeLink, SameAs)


class RemoteHandle:
    """An object that a provider keeps; let go there when nobody holds this any more."""

    def __init__(self, link: ProviderLink, holder: str, ref: HandleRef) -> None:
        self.id = ref.id
        self.nbytes = ref.size_bytes
        self.holder = holder
        self.link = link
        weakref.finalize(self, link.release, holder, ref.id).atexit = False

    @property
    def lost(self) -> bool:
        """The provider that kept it has ended."""
        return self.link.holder != self.holder

    def __repr__(self) -> str:
        return f"an object of node provider {self.link.address}"


class CallValues:
    """Translates the values of one call; `inputs`: what the node gets."""

    def __init__(self, link: ProviderLink, holder: str, spec: NodeSpec, inputs: Mapping[str, object]) -> None:
        self._link = link
        self._holder = holder
        self._spec = spec
        self._inputs = inputs
        self._hosted: dict[str, object] = {}

    def outward(self, value: Any) -> Any:
        """What a provider can understand of it. Raises Unready (HANDLE_LOST), InvalidRequest."""
        match value:
            case None:
                return None
            case RemoteHandle():
                return self._handle(value)
            case Latent():
                parts = {"samples": value.samples, "noise_mask": value.noise_mask, "batch_index": value.batch_index}
                return {name: part for name, part in parts.items() if part is not None}
            case CondEntry():
                pooled = {} if value.pooled is None else {"pooled_output": value.pooled}
                return [value.cross_attn, {**pooled, **value.options}]
            case Blocker():
                return Blocked(value.message)
            case Mapping():
                return value
        if isinstance(value, (*_PLAIN, *_WIRE)):
            return value
        if type(value).__module__ == "torch" or hasattr(value, "detach"):
            return _as_array(value)
        token = secrets.token_hex(8)
        self._hosted[token] = value
        return HostRef(token, _TYPES.get(type(value), type(value).__name__))

    def inward(self, value: Any) -> Any:
        """Inverse. Raises InvalidRequest (NODE_VALUE) for what is not ours to know."""
        match value:
            case np.ndarray():
                return _as_tensor(value)
            case HandleRef():
                return RemoteHandle(self._link, self._holder, value)
            case HostRef():
                if value.id not in self._hosted:
                    raise self._wrong("an object that this call did not bring")
                return self._hosted[value.id]
            case SameAs():
                return self._same(value)
            case Blocked():
                return Blocker(value.message)
            case NodeLink():
                return [value.node_id, value.slot]
            case FileName():
                return self._file(value)
        return value

    def results(self, values: Sequence[Any], *, links: bool) -> tuple[object, ...]:
        """By declared type; `links`: they may stand for results."""
        outputs = self._spec.outputs
        if len(values) != len(outputs):
            raise self._wrong(f"{len(values)} values for {len(outputs)} outputs")
        return tuple(self._typed(slot, value, links) for slot, value in zip(outputs, values))

    def _typed(self, slot: Output, value: Any, links: bool) -> object:
        if isinstance(value, Blocker) or (links and _is_link(value)):
            return value
        if slot.is_list:
            if not isinstance(value, list):
                raise self._wrong(f"{type(value).__name__} for the list output {slot.name}")
            return [item if isinstance(item, Blocker) else self._one(slot, item) for item in value]
        return self._one(slot, value)

    def _one(self, slot: Output, value: Any) -> object:
        if value is None:  # nothing, which optional inputs take
            return None
        match slot.type:
            case "IMAGE" | "MASK":
                return self._picture(slot, value)
            case "LATENT" if isinstance(value, dict):
                return self._latent(slot, value)
            case "CONDITIONING" if isinstance(value, list):
                return tuple(self._entry(slot, item) for item in value)
            case "INT" if isinstance(value, float) and value.is_integer():
                return int(value)  # languages with one kind of number
            case "FLOAT" if isinstance(value, int) and not isinstance(value, bool):
                return float(value)
        return value

    def _picture(self, slot: Output, value: Any) -> torch.Tensor:
        sides, wanted = _SIDES[slot.type]
        if not _is_tensor(value) or value.ndim != sides:
            raise self._wrong(f"{slot.name}: {slot.type} is a float32 tensor {wanted}")
        return value if _is_float32(value) else value.float()  # type: ignore[no-any-return]  # checked above

    def _latent(self, slot: Output, value: dict[str, Any]) -> Latent:
        samples, mask, index = value.get("samples"), value.get("noise_mask"), value.get("batch_index")
        if samples is None or not _is_tensor(samples) or not (mask is None or _is_tensor(mask)):
            raise self._wrong(f'{slot.name}: LATENT is {{"samples": tensor, "noise_mask": tensor or none}}')
        if index is not None and not (isinstance(index, (list, tuple)) and all(isinstance(i, int) for i in index)):
            raise self._wrong(f"{slot.name}: batch_index is a list of whole numbers")
        return Latent(samples.float(), None if mask is None else mask.float(), None if index is None else tuple(index))

    def _entry(self, slot: Output, item: Any) -> CondEntry:
        if isinstance(item, CondEntry):
            return item
        if not _is_entry(item):
            raise self._wrong(f"{slot.name}: CONDITIONING is a list of [tensor, options]")
        return _as_entry(item)

    def _handle(self, value: RemoteHandle) -> HandleRef:
        if value.link is not self._link:
            raise InvalidRequest(
                "an object of one node provider means nothing to another", reason="HANDLE_FOREIGN",
                node_type=self._spec.id, provider=self._link.address, owner=value.link.address,
            )  # fmt: skip
        if value.holder != self._holder:
            raise handle_lost(self._spec.id, self._link.address)
        return HandleRef(value.id, value.nbytes)

    def _same(self, ref: SameAs) -> object:
        value = self._inputs.get(ref.input)
        if ref.index is None:
            if ref.input in self._inputs:
                return value
        elif isinstance(value, list) and 0 <= ref.index < len(value):
            return value[ref.index]
        raise self._wrong(f"an input that did not come in: {ref.input[:80]!r}")

    def _file(self, file: FileName) -> str:
        if file.type not in _AREAS:
            raise self._wrong(f"a file of an unknown area: {file.type[:80]!r}")
        path = f"{file.subfolder}/{file.filename}" if file.subfolder else file.filename
        return path if file.type == "input" else f"{path} [{file.type}]"

    def _wrong(self, what: str) -> InvalidRequest:
        return InvalidRequest(
            "a node provider answered with something that cannot be used", reason="NODE_VALUE",
            node_type=self._spec.id, provider=self._link.address, got=what,
        )  # fmt: skip


def handle_lost(node_type: str, address: str) -> Unready:
    """The provider started again and knows nothing of what it kept."""
    return Unready(
        "the service that provides this node has lost an object it kept: submit again, it will be made anew",
        reason="HANDLE_LOST", provider=address, node_type=node_type,
    )  # fmt: skip


def as_ours(value: Any) -> Any:
    """A latent or a conditioning, by its form: in an expansion nobody says what type a value has."""
    match value:
        case {"samples": samples, **rest} if _is_tensor(samples) and rest.keys() <= {"noise_mask", "batch_index"}:
            mask, index = cast(Any, rest.get("noise_mask")), rest.get("batch_index")
            return Latent(samples, mask, tuple(index) if isinstance(index, (list, tuple)) else None)
        case [[first, {}], *_] if _is_tensor(first) and all(map(_is_entry, value)):
            return tuple(_as_entry(item) for item in value)
    return value


def _is_entry(item: object) -> bool:
    return isinstance(item, list) and len(item) == 2 and _is_tensor(item[0]) and isinstance(item[1], dict)


def _as_entry(item: Any) -> CondEntry:
    options = {name: value for name, value in item[1].items() if name != "pooled_output"}
    return CondEntry(item[0], item[1].get("pooled_output"), MappingProxyType(options))


def _is_link(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _is_float32(value: Any) -> bool:
    import torch

    return bool(value.dtype == torch.float32)


def _as_array(tensor: Any) -> Any:
    import torch

    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:  # numpy has no word for it
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _as_tensor(array: Any) -> Any:
    import torch

    owned = _owned(array)
    if owned.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(owned.view(np.int16)).view(torch.bfloat16)
    if owned.dtype.hasobject:
        return owned.tolist()
    return torch.from_numpy(owned)


def _owned(array: Any) -> Any:
    """To change at will: its memory is a message's, which nobody may change, or was made for it alone."""
    try:
        array.flags.writeable = True
    except ValueError:
        return np.array(array)
    return array
