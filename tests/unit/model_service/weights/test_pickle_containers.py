"""The containers of torch files: records that lie are refused, and no damage reaches outside the file."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.errors import HeliographError, Unsupported
from model_service.weights.reader import read_header
from tests.unit.model_service.weights.pickles import (
    legacy,
    model,
    refused,
    tensor,
    zipped,
)

torch = pytest.importorskip("torch")


CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


@pytest.fixture
def honest(tmp_path):
    path = zipped(tmp_path / "model.pt", model(w=tensor()))
    assert list(read_header(path).tensors) == ["w"]
    return path


def patched(path, signature, offset, form, value, which=0):
    """Overwrite a field behind the n-th record of a kind."""
    raw = bytearray(path.read_bytes())
    at = -1
    for _ in range(which + 1):
        at = raw.index(signature, at + 1)
    struct.pack_into(form, raw, at + offset, value)
    path.write_bytes(bytes(raw))


def test_compressed_members_are_refused(tmp_path):
    path = zipped(tmp_path / "m.pt", model(w=tensor()), compression=zipfile.ZIP_DEFLATED)
    refused(path, "ZIP_COMPRESSED")


def test_a_bomb_is_refused_without_being_inflated(tmp_path):
    path = zipped(tmp_path / "m.pt", model(w=tensor()), {"0": bytes(40 << 20)}, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        refused(path, "ZIP_COMPRESSED")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


ZIP_LIES = {
    "encrypted": (CENTRAL, 8, "<H", 1),
    "strongly encrypted": (CENTRAL, 8, "<H", 0x41),
    "encrypted, own record": (LOCAL, 6, "<H", 1),
    "method": (CENTRAL, 10, "<H", 8),
    "method, own record": (LOCAL, 8, "<H", 8),
    "packed size": (CENTRAL, 20, "<I", 1),
    "size too large": (CENTRAL, 24, "<I", 1 << 30),
    "local record elsewhere": (CENTRAL, 42, "<I", 5),
    "local record beyond": (CENTRAL, 42, "<I", 1 << 30),
    "another disk": (CENTRAL, 34, "<H", 3),
    "name length": (CENTRAL, 28, "<H", 60000),
    "64-bit without extra": (CENTRAL, 24, "<I", 0xFFFFFFFF),
    "own name": (LOCAL, 30, "<B", ord("X")),
    "own name length": (LOCAL, 26, "<H", 3),
    "extra reaches beyond": (LOCAL, 28, "<H", 60000),
    "count": (END, 10, "<H", 3),
    "count on disk": (END, 8, "<H", 3),
    "directory size": (END, 12, "<I", 5),
    "directory offset": (END, 16, "<I", 0),
    "disk": (END, 4, "<H", 1),
    "comment": (END, 20, "<H", 9),
    "64-bit without record": (END, 16, "<I", 0xFFFFFFFF),
    "many": (END, 10, "<H", 0xFFFE),
}


@pytest.mark.parametrize("lie", ZIP_LIES)
def test_zip_records_that_lie_are_refused(honest, lie):
    patched(honest, *ZIP_LIES[lie])
    refused(honest)


def test_overlapping_members_are_refused(honest):
    # The second member's entry and name point at the first: two names, one place.
    raw = honest.read_bytes()
    first, second = raw.index(CENTRAL), raw.index(CENTRAL, raw.index(CENTRAL) + 1)
    patched(honest, CENTRAL, 42, "<I", struct.unpack_from("<I", raw, first + 42)[0], which=1)
    assert second > first
    refused(honest)


def test_two_members_of_one_name_are_refused(tmp_path):
    path = tmp_path / "m.pt"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", model(w=tensor()))
        archive.writestr("a/data.pkl", model(x=tensor()))
    refused(path, "ZIP_BROKEN")


def test_two_models_in_one_archive_are_refused(tmp_path):
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", model(w=tensor()))
        archive.writestr("b/data.pkl", model(w=tensor()))
    refused(path, "WEIGHTS_FORMAT")


def test_any_other_zip_is_no_model(tmp_path):
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, "WEIGHTS_FORMAT")


def test_big_endian_is_named(tmp_path):
    path = zipped(tmp_path / "m.pt", model(w=tensor()))
    path.write_bytes(path.read_bytes().replace(b"little", b"big\0\0\0"))
    with pytest.raises(Unsupported, match="big-endian"):
        read_header(path)


def test_every_truncation_of_a_zip_is_refused(honest):
    whole = honest.read_bytes()
    for length in range(len(whole)):
        honest.write_bytes(whole[:length])
        refused(honest)
    honest.write_bytes(whole + b"x")
    refused(honest)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120, deadline=None)
@given(position=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_flipped_bits_never_crash_nor_reach_outside(honest, position, bit):
    whole = zipped(honest, model(w=tensor(), b=tensor(shape=(2, 2), strides=(2, 1)))).read_bytes()
    at = int(position * len(whole))
    honest.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
    try:
        header = read_header(honest)
    except HeliographError:
        return
    for stored in header.tensors.values():
        assert stored.offset >= 0 and stored.offset + stored.nbytes <= len(whole)


# The old container --------------------


def test_legacy_files_that_lie(tmp_path):
    path = tmp_path / "old.pt"
    body = model(w=tensor())
    legacy(path, body, {"0": bytes(16)}, {"0": 4})
    assert list(read_header(path).tensors) == ["w"]
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path)
    refused(legacy(path, body, {"0": bytes(16)}, {"0": 5}))
    refused(legacy(path, body, {"0": bytes(16)}, {"0": -1}))
    refused(legacy(path, body, {}, {}))
    refused(legacy(path, body, {"0": bytes(16), "1": bytes(4)}, {"0": 4, "1": 1}))
