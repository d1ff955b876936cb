"""The strict safetensors reader: round trips with the reference implementation, and attacks on the header."""

from __future__ import annotations

import json
import struct
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from kit.errors import HeliographError, InvalidModel, NotFound, Unsupported
from model_service.weights.reader import TensorFile, read_all_small, read_header, read_tensor


def entry(dtype="F32", shape=(1,), span=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(span)}


@pytest.fixture
def written(tmp_path):
    """Write a file of a header (object, text or bytes) and data, optionally with a lie about the length."""

    def write(header, data=b"", length=None):
        if not isinstance(header, (str, bytes)):
            header = json.dumps(header)
        raw = header.encode() if isinstance(header, str) else header
        path = tmp_path / "model.safetensors"
        path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
        return path

    return write


def refused(path, reason=None):
    with pytest.raises(InvalidModel) as caught:
        read_header(path)
    assert caught.value.facts["file"] == path.name
    if reason is not None:
        assert caught.value.reason == reason
    return caught.value


ARRAYS = {
    "f16": np.arange(6, dtype=np.float16).reshape(2, 3),
    "bf16": np.arange(4).astype(ml_dtypes.bfloat16),
    "fp8": np.arange(3).astype(ml_dtypes.float8_e4m3fn),
    "fp8b": np.arange(3).astype(ml_dtypes.float8_e5m2),
    "f32": np.array(3.5, np.float32),
    "i64": np.arange(2),
    "bool": np.array([True, False]),
    "u8": np.arange(5, dtype=np.uint8),
    "none": np.empty((0, 7), np.float32),
}


def test_round_trip_of_all_kinds(tmp_path):
    path = tmp_path / "all.safetensors"
    save_file(ARRAYS, path, metadata={"prompt": '{"a": "}"}', "über": "ß"})
    header = read_header(path)
    assert dict(header.metadata) == {"prompt": '{"a": "}"}', "über": "ß"}
    assert set(header.tensors) == set(ARRAYS)
    file = TensorFile(header)
    for name, array in ARRAYS.items():
        found = file[name]
        assert found.dtype == array.dtype and found.shape == array.shape
        assert found.tobytes() == array.tobytes() == read_all_small(header)[name].tobytes()
        stored = header.tensors[name]
        assert path.read_bytes()[stored.offset : stored.offset + stored.nbytes] == array.tobytes()


def test_tensors_are_mapped_and_read_only(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.arange(4, dtype=np.float32)}, path)
    found = read_tensor(read_header(path), "a")
    assert not found.flags.writeable and not found.flags.owndata


def test_small_copies_are_bounded(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.zeros(5 << 20, np.float32), "b": np.ones(2, np.float32)}, path)
    header = read_header(path)
    with pytest.raises(InvalidModel, match="larger"):
        read_all_small(header)
    assert read_all_small(header, ["b"])["b"].tolist() == [1, 1]
    with pytest.raises(NotFound):
        read_all_small(header, ["c"])


def test_packed_types_are_listed_but_not_read(written):
    header = read_header(written({"a": entry("F4", (4,), (0, 2))}, b"ab"))
    assert header.tensors["a"].nbytes == 2
    with pytest.raises(Unsupported):
        read_tensor(header, "a")


def test_a_file_cut_after_its_header_was_read_is_an_error_not_a_crash(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.arange(9000, dtype=np.float32)}, path)
    header = read_header(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InvalidModel) as caught:
        read_tensor(header, "a")
    assert caught.value.reason == "WEIGHTS_TRUNCATED"


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.arange(4, dtype=np.float32), "b": np.zeros(1, np.float16)}, path, metadata={"k": "v"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path)
    path.write_bytes(whole + b"\0")
    refused(path, "WEIGHTS_HEADER")


def test_missing_data_is_called_truncated(written):
    refused(written({"a": entry(shape=(4,), span=(0, 16))}, bytes(10)), "WEIGHTS_TRUNCATED")


@pytest.mark.parametrize("length", [(1 << 64) - 1, 1 << 63, 1 << 40, 100_000_001, 1000, 3])
def test_lies_about_the_header_length(written, length):
    refused(written({"a": entry()}, bytes(4), length=length), "WEIGHTS_HEADER")


def test_a_header_over_the_limit_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 200_000_000) + b'{"')
        file.truncate(300_000_000)
    tracemalloc.start()
    try:
        refused(path, "WEIGHTS_HEADER")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


BAD_HEADERS = {
    "hole": {"a": entry(), "b": entry(span=(8, 12))},
    "overlap": {"a": entry(), "b": entry(span=(2, 6))},
    "same place": {"a": entry(), "b": entry()},
    "not from 0": {"a": entry(span=(4, 8))},
    "negative": {"a": entry(span=(-4, 0))},
    "backwards": {"a": entry(span=(4, 0))},
    "three offsets": {"a": entry(span=(0, 4, 8))},
    "size": {"a": entry(shape=(2,))},
    "dtype": {"a": entry("F33")},
    "dtype is a list": {"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}},
    "dtype missing": {"a": {"shape": [1], "data_offsets": [0, 4]}},
    "another field": {"a": {**entry(), "extra": 1}},
    "float side": {"a": entry(shape=(1.0,))},
    "bool side": {"a": entry(shape=(True,))},
    "text side": {"a": entry(shape=("1",))},
    "negative side": {"a": entry(shape=(-1,))},
    "two negative sides": {"a": entry(shape=(-1, -1))},
    "overflow to 4 bytes": {"a": entry(shape=(1 << 62, 4, 1 << 62), span=(0, 4))},
    "overflow to zero": {"a": entry(shape=(1 << 32, 1 << 32), span=(0, 0))},
    "side over 63 bits": {"a": entry(shape=(1 << 63,), span=(0, 4))},
    "too many sides": {"a": entry(shape=(1,) * 33)},
    "tensor is a list": {"a": [entry()]},
    "tensor is text": {"a": "F32"},
    "nested": {"a": {"dtype": "F32", "shape": [1], "data_offsets": {"x": 1}}},
    "metadata number": {"__metadata__": {"a": 1}, "a": entry()},
    "metadata nested": {"__metadata__": {"a": {"b": "c"}}, "a": entry()},
    "metadata list": {"__metadata__": ["a"], "a": entry()},
    "metadata null": {"__metadata__": None, "a": entry()},
    "long name": {"a" * 5000: entry()},
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_bad_structures_are_refused(written, case):
    refused(written(BAD_HEADERS[case], bytes(12)))


ENTRY = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
BAD_TEXTS = {
    "duplicate tensor": f'{{"a":{ENTRY},"a":{ENTRY}}}',
    "duplicate escaped": f'{{"a":{ENTRY},"\\u0061":{ENTRY}}}',
    "duplicate metadata": f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{ENTRY}}}',
    "duplicate metadata key": f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{ENTRY}}}',
    "duplicate field": '{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}',
    "nan": '{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}',
    "infinity": '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,Infinity]}}',
    "exponent": '{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}',
    "long number": '{"a":{"dtype":"F32","shape":[' + "1" * 4090 + '],"data_offsets":[0,4]}}',
    "trailing comma": f'{{"a":{ENTRY},}}',
    "no colon": f'{{"a" {ENTRY}}}',
    "text behind": f'{{"a":{ENTRY}}} x',
    "second object": f'{{"a":{ENTRY}}}{{}}',
    "comment": f'{{/**/"a":{ENTRY}}}',
    "single quotes": ENTRY.replace('"', "'"),
    "unclosed": f'{{"a":{ENTRY}',
    "unclosed text": '{"a',
    "half surrogate": f'{{"\\ud800":{ENTRY}}}',
    "control sign in text": f'{{"a\n":{ENTRY}}}',
    "array": "[]",
    "null": "null",
    "empty object with data": "{}",
    "deep": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
    "deep in entry": '{"a":{"dtype":' + "[" * 4000 + "}",
    "not utf-8": b'{"\xff":' + ENTRY.encode() + b"}",
    "utf-16": f'{{"a":{ENTRY}}}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + f'{{"a":{ENTRY}}}'.encode(),
    "only spaces": " " * 64,
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_bad_texts_are_refused(written, case):
    refused(written(BAD_TEXTS[case], bytes(4)))


def test_padding_and_free_order_are_allowed(written):
    text = f'{{ "b" : {{"data_offsets": [4, 8],\n"shape":[1], "dtype":"F32" }} , "a":{ENTRY}}}      '
    assert list(read_header(written(text, bytes(8))).tensors) == ["b", "a"]


def test_an_empty_model_is_a_model(written):
    assert dict(read_header(written({})).tensors) == {}


def test_hostile_nesting_costs_no_memory(written):
    path = written('{"a":' + "[]," * 2_000_000 + "}")
    tracemalloc.start()
    try:
        refused(path)
        # The text itself, twice at most (bytes and text), and nothing built from it.
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_too_many_tensors_are_refused(written, monkeypatch):
    monkeypatch.setattr("model_service.weights.safetensors.MAX_TENSORS", 10)
    refused(written({f"t{n}": entry(shape=(0,), span=(0, 0)) for n in range(11)}))


NAMES = st.text(max_size=6)
SIDES = st.one_of(st.integers(-1, 5), st.sampled_from([1 << 31, 1 << 62, 1 << 64, 1.5, None, "1", True]))
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "U8", "BOOL", "F4", "X", 1]),
        "shape": st.lists(SIDES, max_size=3),
        "data_offsets": st.lists(st.integers(-1, 24), min_size=2, max_size=2),
    }
)
HEADERS = st.one_of(
    st.dictionaries(NAMES, st.one_of(ENTRIES, st.integers(), st.text(max_size=3), st.lists(st.integers()))).map(
        json.dumps
    ),
    st.text(alphabet='{}[]":,a0 \\u', max_size=40),
    st.binary(max_size=40),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(header=HEADERS, data=st.binary(max_size=24), length=st.none() | st.integers(0, 80))
def test_whatever_we_accept_the_reference_implementation_accepts_too(written, header, data, length):
    path = written(header, data, length)
    try:
        ours = read_header(path)
    except HeliographError:
        return
    if any(stored.dtype in ("F4", "BF16") for stored in ours.tensors.values()):
        return
    try:
        theirs = load(path.read_bytes())
    except SafetensorError as error:  # pragma: no cover
        raise AssertionError(f"accepted, but the reference says {error}") from error
    assert set(theirs) == set(ours.tensors)
    for name, array in theirs.items():
        assert array.tobytes() == read_tensor(ours, name).tobytes()
        assert array.shape == read_tensor(ours, name).shape


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=5), kind=st.sampled_from(["f2", "f4", "i8", "u1"])
)
def test_whatever_the_reference_implementation_writes_we_read(tmp_path, sizes, kind):
    arrays = {f"t{n}": np.ones(shape, kind) for n, shape in enumerate(sizes)}
    path = tmp_path / "m.safetensors"
    save_file(arrays, path)
    header = read_header(path)
    assert {name: stored.shape for name, stored in header.tensors.items()} == {n: a.shape for n, a in arrays.items()}


def flipped(whole, position, bit):
    return whole[:position] + bytes([whole[position] ^ (1 << bit)]) + whole[position + 1 :]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(position=st.integers(0, 300), bit=st.integers(0, 7))
def test_flipped_bits_never_crash(tmp_path, position, bit):
    path = tmp_path / "m.safetensors"
    save_file(ARRAYS, path, metadata={"a": "b"})
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, position, bit))
    try:
        header = read_header(path)
    except HeliographError:
        return
    for stored in header.tensors.values():
        assert stored.offset + stored.nbytes <= len(whole)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "WEIGHTS_TRUNCATED"),
        (b"\0", "WEIGHTS_TRUNCATED"),
        (b"hello world, this is text", "WEIGHTS_FORMAT"),
        (b"<!DOCTYPE html><html></html>", "WEIGHTS_FORMAT"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "WEIGHTS_FORMAT"),
        (b'{"error": "not found"}', "WEIGHTS_FORMAT"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "WEIGHTS_FORMAT"),
        (bytes(100), "WEIGHTS_FORMAT"),
    ],
)
def test_files_that_are_no_models(tmp_path, content, reason):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    refused(path, reason)


def test_gguf_is_named(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(60))
    with pytest.raises(Unsupported, match="GGUF"):
        read_header(path)


def test_folders_pipes_and_absent_files(tmp_path):
    import os

    refused(tmp_path, "WEIGHTS_FORMAT")
    os.mkfifo(tmp_path / "pipe.safetensors")
    refused(tmp_path / "pipe.safetensors", "WEIGHTS_FORMAT")
    with pytest.raises(NotFound):
        read_header(tmp_path / "absent.safetensors")
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    with pytest.raises(NotFound):
        read_header(tmp_path / "dangling")


@pytest.mark.parametrize("size", [0x7B, 0x13C])
def test_a_header_length_that_looks_like_another_format_is_no_other_format(written, size):
    header = json.dumps({"a": entry()})
    path = written(header + " " * (size - len(header)), bytes(4))
    assert path.read_bytes()[0] in b"<{"
    assert list(read_header(path).tensors) == ["a"]
