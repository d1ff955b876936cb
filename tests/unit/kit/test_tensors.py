"""The tensor codec: every type there and back, no copies where none is needed, and wrong contents refused."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import InvalidRequest, Unsupported
from kit.tensors import (
    TENSOR_TYPES,
    from_raw,
    kserve_name,
    nbytes_of,
    numpy_type,
    raw_bytes,
    raw_view,
    stored_name,
    stored_type,
)

FIXED = [row for row in TENSOR_TYPES if row.numpy is not None and row.kserve not in (None, "BYTES")]


@pytest.mark.parametrize("row", FIXED, ids=lambda row: row.kserve)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4), (1, 2, 1)])
def test_every_fixed_type_goes_there_and_back(row, shape):
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(row.numpy)
    raw = raw_bytes(array)
    assert kserve_name(array.dtype) == row.kserve
    assert numpy_type(row.kserve) == array.dtype
    assert len(raw) == nbytes_of(row.kserve, shape) == array.nbytes
    back = from_raw(row.kserve, shape, raw)
    assert back.dtype == array.dtype and back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_names_of_stored_types_agree():
    for row in TENSOR_TYPES:
        if row.safetensors is not None and row.numpy is not None:
            assert stored_type(row.safetensors) == row.numpy
            assert stored_name(row.numpy) == row.safetensors
            assert row.numpy.itemsize * 8 == row.bits


def test_bfloat16_bytes_are_the_upper_half_of_float32():
    values = np.array([1.0, -2.5, 3e38], np.float32)
    assert raw_bytes(values.astype(ml_dtypes.bfloat16)) == values.astype(ml_dtypes.bfloat16).view("<u2").tobytes()
    assert from_raw("BF16", [1], b"\x80\x3f")[0] == 1.0


def test_decoding_and_encoding_share_memory():
    raw = np.arange(12, dtype=np.float32).tobytes()
    decoded = from_raw("FP32", [3, 4], raw)
    assert np.shares_memory(decoded, np.frombuffer(raw, np.uint8))
    assert not decoded.flags.writeable
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.shares_memory(np.asarray(raw_view(array)), array)


def test_decoding_does_not_make_a_writable_buffer_read_only():
    raw = bytearray(8)
    assert not from_raw("FP32", [2], raw).flags.writeable
    raw[0] = 1
    assert raw[0] == 1


def test_big_endian_and_transposed_arrays_become_little_endian_rows():
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    assert kserve_name(array.dtype) == "FP32"
    assert raw_bytes(array) == array.astype("<f4").tobytes("C")


def test_bytes_elements():
    array = np.array([b"", "ünï", b"\0\xff"], dtype=object)
    raw = raw_bytes(array)
    assert raw == b"\0\0\0\0" + b"\5\0\0\0" + "ünï".encode() + b"\2\0\0\0\0\xff"
    assert from_raw("BYTES", [3, 1], raw).tolist() == [[b""], ["ünï".encode()], [b"\0\xff"]]
    assert raw_bytes(np.array(["ab"])) == b"\2\0\0\0ab"


@pytest.mark.parametrize(
    ("raw", "shape"),
    [
        (b"\1", [1]),
        (b"\5\0\0\0ab", [1]),
        (b"\xff\xff\xff\xff", [1]),
        (b"\1\0\0\0a", [2]),
        (b"\1\0\0\0ab", [1]),
        (b"", [1]),
    ],
)
def test_broken_bytes_are_refused(raw, shape):
    with pytest.raises(InvalidRequest, match="BYTES"):
        from_raw("BYTES", shape, raw)


@pytest.mark.parametrize("size", [0, 3, 5, 8])
def test_a_wrong_size_is_refused(size):
    with pytest.raises(InvalidRequest) as caught:
        from_raw("FP32", [1], bytes(size))
    assert caught.value.reason == "TENSOR_SIZE"
    assert caught.value.facts["wanted"] == "4"


@pytest.mark.parametrize("shape", [[-1, -4], [1 << 62, 1 << 62], [1 << 63], [1] * 33, [1 << 31, 1 << 32, 0, -1]])
def test_a_wrong_shape_is_refused(shape):
    with pytest.raises(InvalidRequest) as caught:
        from_raw("FP32", shape, bytes(16))
    assert caught.value.reason == "TENSOR_SHAPE"


def test_bool_contents_are_0_or_1():
    with pytest.raises(InvalidRequest):
        from_raw("BOOL", [2], b"\1\2")


@pytest.mark.parametrize("name", ["FP31", "", "fp32", "STRING", "C64"])
def test_unknown_type_names_are_refused(name):
    with pytest.raises(InvalidRequest):
        numpy_type(name)


def test_types_that_cannot_travel_are_refused():
    with pytest.raises(InvalidRequest):
        raw_bytes(np.array([1j]))
    with pytest.raises(InvalidRequest):
        raw_bytes(np.array([object()], dtype=object))
    with pytest.raises(Unsupported):
        stored_type("F4")
    with pytest.raises(Unsupported):
        stored_type("Q4_0")


@given(
    st.sampled_from([row.kserve for row in FIXED] + ["BYTES"]), st.lists(st.integers(-2, 9), max_size=4), st.binary()
)
def test_any_contents_give_an_array_or_a_typed_error(kind, shape, raw):
    try:
        array = from_raw(kind, shape, raw)
    except InvalidRequest:
        return
    assert list(array.shape) == shape
    assert raw_bytes(array) == raw
