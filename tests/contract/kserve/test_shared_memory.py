"""System shared memory, by the stock client's own helpers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.utils.shared_memory as shm

from tests.contract.kserve.calls import affine_inputs, images, refused, tensor
from tests.contract.kserve.conftest import Bench

SIZE = 1 << 20


@dataclass(frozen=True)
class Shared:
    """A region that is registered."""

    name: str
    key: str
    handle: Any

    def read(self, shape: tuple[int, ...], offset: int) -> np.ndarray:
        return shm.get_contents_as_numpy(self.handle, np.float32, shape, offset)

    def input(self, name: str, values: np.ndarray, offset: int) -> triton_grpc.InferInput:
        shm.set_shared_memory_region(self.handle, [values], offset)
        given = triton_grpc.InferInput(name, list(values.shape), "FP32")
        given.set_shared_memory(self.name, values.nbytes, offset)
        return given

    def output(self, name: str, byte_size: int, offset: int) -> triton_grpc.InferRequestedOutput:
        wanted = triton_grpc.InferRequestedOutput(name)
        wanted.set_shared_memory(self.name, byte_size, offset)
        return wanted


@pytest.fixture
def region(bench: Bench) -> Iterator[Shared]:
    name = f"test-{uuid.uuid4().hex}"
    handle = shm.create_shared_memory_region(name, f"/{name}", SIZE)
    bench.client.register_system_shared_memory(name, f"/{name}", SIZE)
    yield Shared(name, f"/{name}", handle)
    bench.client.unregister_system_shared_memory(name)
    shm.destroy_shared_memory_region(handle)


def test_inputs_and_outputs_in_one_region(bench: Bench, affine: str, region: Shared) -> None:
    for batch in (2, 3):
        x = images(batch)
        inputs = [region.input("x", x, 64), tensor("ids", np.zeros(batch, np.int64))]
        outputs = [region.output("out", x.nbytes, 1 << 18), region.output("sum", x.nbytes + 100, 1 << 19)]
        result = bench.client.infer(affine, inputs, outputs=outputs)
        assert [len(raw) for raw in result.get_response().raw_output_contents] in ([], [0, 0])
        np.testing.assert_array_equal(region.read(x.shape, 1 << 18), x + x)
        np.testing.assert_array_equal(region.read(x.shape, 1 << 19), x + x)
        np.testing.assert_array_equal(region.read(x.shape, 64), x)


def test_shared_input_and_inline_output(bench: Bench, affine: str, region: Shared) -> None:
    x = images()
    result = bench.client.infer(affine, [region.input("x", x, 0), tensor("ids", np.zeros(2, np.int64))])
    np.testing.assert_array_equal(result.as_numpy("out"), x + x)


def test_one_output_shared_and_one_inline(bench: Bench, affine: str, region: Shared) -> None:
    x = images()
    outputs = [region.output("out", x.nbytes, 0), triton_grpc.InferRequestedOutput("sum")]
    result = bench.client.infer(affine, affine_inputs(x), outputs=outputs)
    np.testing.assert_array_equal(result.as_numpy("sum"), x + x)


def test_status(bench: Bench, region: Shared) -> None:
    shown = bench.client.get_system_shared_memory_status(region.name).regions[region.name]
    assert (shown.name, shown.key, shown.offset, shown.byte_size) == (region.name, region.key, 0, SIZE)
    assert region.name in bench.client.get_system_shared_memory_status().regions
    with refused("NOT_FOUND"):
        bench.client.get_system_shared_memory_status("nobody")


def test_part_of_an_object(bench: Bench, affine: str) -> None:
    if bench.kind == "triton":
        pytest.skip("Triton 2.51 adds the offset of a region twice: register whole objects there")
    name = f"test-{uuid.uuid4().hex}"
    handle = shm.create_shared_memory_region(name, f"/{name}", SIZE)
    bench.client.register_system_shared_memory(name, f"/{name}", 4096, offset=8192)
    x = images()
    shm.set_shared_memory_region(handle, [x], 8192 + 128)
    given = triton_grpc.InferInput("x", list(x.shape), "FP32")
    given.set_shared_memory(name, x.nbytes, 128)
    result = bench.client.infer(affine, [given, tensor("ids", np.zeros(2, np.int64))])
    np.testing.assert_array_equal(result.as_numpy("sum"), x + x)
    given.set_shared_memory(name, x.nbytes, 4096)
    with refused("INVALID_ARGUMENT"):
        bench.client.infer(affine, [given, tensor("ids", np.zeros(2, np.int64))])
    bench.client.unregister_system_shared_memory(name)
    shm.destroy_shared_memory_region(handle)


def test_a_name_can_be_registered_once(bench: Bench, region: Shared) -> None:
    with refused("ALREADY_EXISTS"):
        bench.client.register_system_shared_memory(region.name, region.key, SIZE)


def test_unregistered_is_unknown(bench: Bench, affine: str, region: Shared) -> None:
    x = images()
    given = region.input("x", x, 0)
    bench.client.unregister_system_shared_memory(region.name)
    bench.client.unregister_system_shared_memory(region.name)  # once more is no error
    with refused("NOT_FOUND"):
        bench.client.infer(affine, [given, tensor("ids", np.zeros(2, np.int64))])


@pytest.mark.parametrize("key", ["/../../etc/passwd", "/a/b", "../x", "/etc/passwd", "", "/", "/nobody-has-this"])
def test_keys_that_are_no_shared_memory(bench: Bench, key: str) -> None:
    with refused("INTERNAL", "INVALID_ARGUMENT"):
        bench.client.register_system_shared_memory(f"bad-{uuid.uuid4().hex}", key, 16)


def test_more_than_the_object_has(bench: Bench, region: Shared) -> None:
    with refused("INTERNAL", "INVALID_ARGUMENT"):
        bench.client.register_system_shared_memory(f"{region.name}-big", region.key, SIZE * 1024)


@pytest.mark.parametrize(("offset", "byte_size"), [(SIZE - 16, 480), (SIZE * 2, 480), (0, 100), (1 << 62, 480)])
def test_input_outside_the_region(bench: Bench, affine: str, region: Shared, offset: int, byte_size: int) -> None:
    given = triton_grpc.InferInput("x", [2, 4, 3, 5], "FP32")
    given.set_shared_memory(region.name, byte_size, offset)
    with refused("INVALID_ARGUMENT"):
        bench.client.infer(affine, [given, tensor("ids", np.zeros(2, np.int64))])


@pytest.mark.parametrize(("offset", "byte_size"), [(SIZE - 16, 480), (0, 100)])
def test_output_outside_its_room(bench: Bench, affine: str, region: Shared, offset: int, byte_size: int) -> None:
    with refused("INTERNAL", "INVALID_ARGUMENT"):
        bench.client.infer(affine, affine_inputs(images()), outputs=[region.output("out", byte_size, offset)])


def test_no_cuda_here(bench: Bench) -> None:
    with refused("UNIMPLEMENTED", "INVALID_ARGUMENT"):
        bench.client.register_cuda_shared_memory("cuda", b"aGFuZGxl", 0, 16)
