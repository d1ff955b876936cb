"""Values of NodeProvider at the wire: there and back, small and large, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from heliograph.graph.v1 import node_value_pb2 as pb

from kit import node_values, shared_files
from kit.errors import Busy, InvalidRequest
from kit.node_values import Blocked, FileName, HandleRef, HostRef, Incoming, NodeLink, Outgoing, SameAs, packed

PLAIN: list[Any] = [
    None, True, False, 0, -(1 << 63), (1 << 64) - 1, 1.5, math.inf, "text", b"bytes", [], [1, [2, None]],
    {"a": {"b": [1.0]}}, FileName("input", "sub", "a.png"), Blocked(), Blocked("why"), Blocked(""),
    NodeLink("1.0.2", 3), HandleRef("h", 7), HostRef("m", "MODEL"), SameAs("image"), SameAs("image", 0),
]  # fmt: skip


def there_and_back(value: Any, *, shared: bool = False, receipt: bool = False) -> Any:
    message, outgoing = packed(lambda out: out.pack(value), node_values.unchanged, shared)
    incoming = Incoming(receipt=receipt)
    for chunk in outgoing.chunks():
        incoming.take(pb.TensorChunk.FromString(chunk.SerializeToString()))
    found = incoming.unpack(pb.Value.FromString(message.SerializeToString()))
    incoming.close()
    outgoing.close()
    return found


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_equal(value: Any) -> None:
    found = there_and_back(value)
    assert found == value and type(found) is type(value)


def test_not_a_number_comes_back() -> None:
    assert math.isnan(there_and_back(math.nan))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3), (300, 400, 3), (1700, 1700)])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, ml_dtypes.bfloat16, np.bool_])
def test_arrays_come_back_equal(dtype: Any, shape: tuple[int, ...], shared: bool) -> None:
    value = (np.arange(math.prod(shape)) % 2).reshape(shape).astype(dtype)
    found = there_and_back({"samples": value, "again": [value]}, shared=shared)
    for array in (found["samples"], found["again"][0]):
        assert array.dtype == value.dtype and array.shape == shape and np.array_equal(array, value)


def test_large_arrays_leave_the_message_and_nothing_stays_behind() -> None:
    before = set(Path("/dev/shm").glob("heliograph-node-*"))
    value = np.ones((1000, 1000), np.float32)
    for shared in (False, True):
        message, outgoing = packed(lambda out: out.pack(value), node_values.unchanged, shared)
        assert message.ByteSize() < 1000
        outgoing.close()
    there_and_back(value, shared=True, receipt=True)
    assert set(Path("/dev/shm").glob("heliograph-node-*")) <= before


def test_full_shared_memory_means_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Busy("shared memory is full", reason="SHARED_MEMORY_FULL")

    monkeypatch.setattr(shared_files.SharedFile, "write", full)
    assert there_and_back(np.ones((1000, 1000), np.float32), shared=True).sum() == 1_000_000


@pytest.mark.parametrize(
    "value", [object(), {1: 2}, 1 << 64, [[object()]], np.array(["a", 1], object), np.zeros(2, np.complex64)]
)
def test_what_cannot_travel_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest):
        there_and_back(value)


def test_deep_values_are_refused_on_both_sides() -> None:
    value: Any = []
    message = pb.Value()
    for _ in range(45):
        value = [value]
        message = pb.Value(list=pb.ValueList(values=[message]))
    for attempt in (lambda: Outgoing().pack(value), lambda: Incoming().unpack(message)):
        with pytest.raises(InvalidRequest, match="deeply"):
            attempt()


@pytest.mark.parametrize(
    "tensor",
    [
        pb.Tensor(datatype="FP32", shape=[2], raw=b"123"),
        pb.Tensor(datatype="NONSENSE", shape=[2], raw=b"12345678"),
        pb.Tensor(datatype="FP32", shape=[-2], raw=b""),
        pb.Tensor(datatype="FP32", shape=[1 << 62], raw=b""),
        pb.Tensor(datatype="FP32", shape=[2], chunked=5),
        pb.Tensor(datatype="FP32", shape=[2], shared=pb.SharedRegion(key="/etc/passwd", size_bytes=8)),
        pb.Tensor(datatype="FP32", shape=[2], shared=pb.SharedRegion(key="/heliograph-node-../../x", size_bytes=8)),
        pb.Tensor(datatype="FP32", shape=[2], shared=pb.SharedRegion(key="/heliograph-node-gone", size_bytes=8)),
        pb.Tensor(datatype="FP32", shape=[2], shared=pb.SharedRegion(key="/heliograph-node-gone", size_bytes=9)),
    ],
    ids=str,
)
def test_hostile_tensors_are_refused(tensor: pb.Tensor) -> None:
    with pytest.raises(InvalidRequest):
        Incoming().unpack(pb.Value(tensor=tensor))


def test_a_shared_file_shorter_than_said_is_refused(tmp_path: Path) -> None:
    file = shared_files.SharedFile(tmp_path)
    file.write([memoryview(b"1234")])
    assert shared_files.read(file.key, 0, 4, tmp_path) == b"1234"
    for offset, size in ((0, 1000), (1000, 1), (-1, 2), (0, -1)):
        with pytest.raises(InvalidRequest):
            shared_files.read(file.key, offset, size, tmp_path)
    file.close()


def test_chunks_out_of_order_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        Incoming().take(pb.TensorChunk(number=1, contents=b"1"))


def test_a_probe_is_seen_only_where_it_is(tmp_path: Path) -> None:
    probe = shared_files.Probe(tmp_path)
    assert shared_files.probe(probe.name, tmp_path)
    for name in ("", "heliograph-node-other", "../etc/passwd", "heliograph-node-" + "x" * 300):
        assert not shared_files.probe(name, tmp_path)
    probe.close()
    assert not shared_files.probe(probe.name, tmp_path)
