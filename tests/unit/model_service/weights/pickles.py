"""Builders of honest and hostile `torch.save` files, byte by byte; torch is not needed."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from kit.errors import InvalidModel
from model_service.weights.reader import read_header

MAGIC = 0x1950A86A20F9469CFC6C


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if abs(value) < 1 << 31 else b"\x8a\x08" + struct.pack("<q", value)


def tupled(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def tensor(
    key: str = "0",
    count: int = 4,
    first: int = 0,
    shape: tuple[int, ...] = (4,),
    strides: tuple[int, ...] = (1,),
    storage: str = "FloatStorage",
) -> bytes:
    """The opcodes of one tensor, as `torch._utils._rebuild_tensor_v2` wants them."""
    place = tupled(text("storage"), named("torch", storage), text(key), text("cpu"), integer(count)) + b"Q"
    arguments = tupled(
        place,
        integer(first),
        tupled(*map(integer, shape)),
        tupled(*map(integer, strides)),
        b"\x89",
        named("collections", "OrderedDict") + b")R",
    )
    return named("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def model(**items: bytes) -> bytes:
    """A pickle of a dictionary of ready opcodes."""
    return b"\x80\x02}(" + b"".join(text(name) + body for name, body in items.items()) + b"u."


def zipped(
    path: Path,
    body: bytes,
    storages: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
    root: str = "archive",
) -> Path:
    """Write a zip file as `torch.save` does."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{root}/data.pkl", body)
        archive.writestr(f"{root}/byteorder", "little")
        for key, content in ({"0": bytes(16)} if storages is None else storages).items():
            archive.writestr(f"{root}/data/{key}", content)
        archive.writestr(f"{root}/version", "3\n")
    return path


def legacy(path: Path, body: bytes, storages: dict[str, bytes], counts: dict[str, int]) -> Path:
    """Write a file in torch's old format."""
    out = io.BytesIO()
    for part in (MAGIC, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}):
        out.write(pickle.dumps(part, protocol=2))
    out.write(body)
    out.write(pickle.dumps(sorted(storages), protocol=2))
    for key in sorted(storages):
        out.write(struct.pack("<q", counts[key]) + storages[key])
    path.write_bytes(out.getvalue())
    return path


def refused(path, reason=None):
    with pytest.raises(InvalidModel) as caught:
        read_header(path)
    assert caught.value.facts["file"] == path.name
    if reason is not None:
        assert caught.value.reason == reason
    return caught.value
