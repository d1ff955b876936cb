"""Reader of `.ckpt`, `.pt`, `.pth` and `.bin` files written by `torch.save`; no torch, and nothing of the file is run.

A zip file's storages are stored members, so each tensor's entry points straight into the file and weights bind as they
do from `.safetensors`. Older files are a sequence of pickles followed by the storages; the same holds there, though
their tensors may begin at odd offsets.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from kit.errors import InvalidModel, Unsupported
from model_service.weights.file_window import FileWindow
from model_service.weights.header import Header, TensorEntry
from model_service.weights.pickle_machine import MAX_PICKLE_BYTES, run_pickle
from model_service.weights.torch_records import Storage, TensorRecord, TorchVocabulary, element_bytes
from model_service.weights.zip_members import Member, read_members

MAX_DEPTH = 8
MAX_VALUES = 1 << 18
MAX_NAME_CHARACTERS = 4096
MAX_SETTINGS = 1024
MAX_SETTING_CHARACTERS = 4096

# The first pickle of an old file is this number (torch.serialization.MAGIC_NUMBER), the second this version.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
LEGACY_START = b"\x80\x02\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little")
# Where one of these holds a dictionary, that is the model; the averaged weights win, as upscalers expect.
_WRAPPERS = ("state_dict", "params_ema", "params")


def read_torch_zip(window: FileWindow) -> Header:
    """The header of an open zip file of `torch.save` (torch >= 1.6).

    Raises `InvalidModel` (ZIP_*, PICKLE_*, WEIGHTS_*) or `Unsupported` (WEIGHTS_FORMAT, WEIGHTS_LAYOUT).
    """
    members = read_members(window)
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise InvalidModel(
            "the archive is none of torch.save's", reason="WEIGHTS_FORMAT", file=window.path.name, pickles=len(pickles)
        )
    root = pickles[0].removesuffix("data.pkl")
    order = members.get(f"{root}byteorder")
    if order is not None and window.read(order.offset, min(order.nbytes, 16)) != b"little":
        raise Unsupported("the file was written big-endian", reason="WEIGHTS_FORMAT", file=window.path.name)
    body = members[pickles[0]]
    if body.nbytes > MAX_PICKLE_BYTES:
        _too_large(window, body.nbytes)
    unpickled = run_pickle(window.read(body.offset, body.nbytes), TorchVocabulary())
    places = {
        name.removeprefix(f"{root}data/"): member for name, member in members.items() if name.startswith(f"{root}data/")
    }
    return _header(window.path, unpickled.value, places)


def read_torch_legacy(window: FileWindow) -> Header:
    """The header of an open file of `torch.save` before 1.6 (or with its old format); errors as `read_torch_zip`.

    Layout: pickles of magic, version, machine, object and storage keys; then for each key a count (8 bytes) and data.
    """
    head = window.read(0, min(window.size, MAX_PICKLE_BYTES))
    vocabulary = TorchVocabulary()
    magic = run_pickle(head, vocabulary)
    version = run_pickle(head, vocabulary, magic.end)
    machine = run_pickle(head, vocabulary, version.end)
    if magic.value != _LEGACY_MAGIC or version.value != _LEGACY_VERSION:
        raise InvalidModel("the pickle is none of torch.save's", reason="WEIGHTS_FORMAT", file=window.path.name)
    if not isinstance(machine.value, dict) or machine.value.get("little_endian") is not True:
        raise Unsupported("the file was written big-endian", reason="WEIGHTS_FORMAT", file=window.path.name)
    body = run_pickle(head, vocabulary, machine.end)
    keys = run_pickle(head, vocabulary, body.end)
    return _header(window.path, body.value, _legacy_places(window, keys.value, keys.end, vocabulary.storages))


def _legacy_places(window: FileWindow, keys: object, at: int, storages: Mapping[str, Storage]) -> dict[str, Member]:
    """Where each storage lies behind the pickles, in the order of `keys`."""
    if not isinstance(keys, list) or len(keys) != len(storages) or {*map(str, keys)} != storages.keys():
        raise InvalidModel("the list of storages is not that of the pickle", reason="PICKLE_BROKEN")
    places: dict[str, Member] = {}
    for key in keys:
        storage = storages[key]
        (count,) = struct.unpack("<q", window.read(at, 8))
        if count != storage.count:
            raise InvalidModel(
                "a storage has another size than the pickle says",
                reason="PICKLE_BROKEN", file=window.path.name, storage=key, found=count, expected=storage.count,
            )  # fmt: skip
        places[key] = Member(key, at + 8, count * element_bytes(storage.dtype))
        at += 8 + places[key].nbytes
    if at > window.size:
        raise InvalidModel(
            "the file ends inside its storages", reason="WEIGHTS_TRUNCATED", file=window.path.name, wanted=at
        )
    return places


def _header(path: Path, value: object, places: Mapping[str, Member]) -> Header:
    tensors: dict[str, TensorEntry] = {}
    settings: dict[str, str] = {}
    for name, leaf in _leaves(_model(value), path):
        if isinstance(leaf, TensorRecord):
            tensors[name] = _entry(path, name, leaf, places)
        elif isinstance(leaf, (str, int, float, bool)) and len(settings) < MAX_SETTINGS:
            settings[name] = str(leaf)[:MAX_SETTING_CHARACTERS]
    if not tensors:
        raise InvalidModel("the file holds no tensors", reason="WEIGHTS_FORMAT", file=path.name)
    return Header(path, tensors, settings)


def _model(value: object) -> object:
    """The dictionary that holds the weights, out of the wrappers that training tools put around it."""
    for _ in range(MAX_DEPTH):
        inner = _wrapped(value) if isinstance(value, dict) else None
        if inner is None:
            return value
        value = inner
    return value


def _wrapped(outer: dict[object, object]) -> object:
    for wrapper in _WRAPPERS:
        if isinstance(outer.get(wrapper), dict):
            return outer[wrapper]
    # Any other wrapper is alone; an embedding's own dictionary keeps its name, by which it is known.
    key, inner = next(iter(outer.items()), (None, None))
    return inner if len(outer) == 1 and isinstance(inner, dict) and key != "string_to_param" else None


def _leaves(value: object, path: Path) -> Iterator[tuple[str, object]]:
    """All values that are no containers, named by their keys joined with "/"; one tensor alone is named "tensor"."""
    pending: list[tuple[tuple[str, ...], object]] = [((), value)]
    names: set[str] = set()
    for _ in range(MAX_VALUES):
        if not pending:
            return
        keys, item = pending.pop()
        if isinstance(item, (dict, list, tuple)):
            pairs = item.items() if isinstance(item, dict) else enumerate(item)
            if len(keys) == MAX_DEPTH or len(item) + len(pending) > MAX_VALUES:
                _refuse(path, "the file's dictionaries are nested too deeply or hold too much", depth=len(keys))
            pending += reversed([((*keys, str(key)), inner) for key, inner in pairs])
            continue
        name = "/".join(keys) or "tensor"
        if name in names or len(name) > MAX_NAME_CHARACTERS:
            _refuse(path, "two values have one name or a name is too long", name=name[:80])
        names.add(name)
        yield name, item
    _refuse(path, "the file holds more values than any model", limit=MAX_VALUES)


def _entry(path: Path, name: str, record: TensorRecord, places: Mapping[str, Member]) -> TensorEntry:
    place = places.get(record.storage.key)
    width = element_bytes(record.dtype)
    stored = record.storage.count * element_bytes(record.storage.dtype)
    if place is None or place.nbytes != stored:
        _refuse(path, "a tensor's storage is missing or has another size", tensor=name, storage_bytes=stored)
    return TensorEntry(
        name, record.dtype, record.shape, place.offset + record.first * width, math.prod(record.shape) * width
    )


def _refuse(path: Path, message: str, **facts: object) -> NoReturn:
    raise InvalidModel(message, reason="PICKLE_BROKEN", file=path.name, **facts)


def _too_large(window: FileWindow, nbytes: int) -> NoReturn:
    raise InvalidModel(
        "the pickle is larger than any model's",
        reason="PICKLE_BROKEN", file=window.path.name, bytes=nbytes, limit=MAX_PICKLE_BYTES,
    )  # fmt: skip
