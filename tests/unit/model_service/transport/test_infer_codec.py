"""ModelInfer messages and arrays: every data type there and back, and what is wrong with a message."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from kit.errors import InvalidRequest
from kit.tensors import kserve_name, raw_bytes
from model_service.archs.spec import Signature, TensorSpec
from model_service.transport.infer_codec import check_request, decode_inputs, encode_answer, wanted_outputs
from model_service.transport.regions import Regions

NO_REGIONS = Regions(Path("/nowhere"))
ARRAYS = [
    np.array([[True, False]]),
    *(np.arange(6).reshape(2, 3).astype(kind) for kind in ("u1", "i1", "u2", "i4", "u8", "i8")),
    *(
        np.linspace(-2, 2, 6).reshape(3, 2).astype(kind)
        for kind in (
            np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2,
        )
    ),
    np.array([b"", b"\x00\xff", "Bäume".encode()], dtype=object),
    np.zeros((0, 4), np.float32),
    np.float32(7).reshape(()),
]  # fmt: skip


def _request(array: np.ndarray) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="same", id="7")
    request.inputs.add(name="x", datatype=kserve_name(array.dtype), shape=array.shape)
    request.raw_input_contents.append(raw_bytes(array))
    return request


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_there_and_back(array: np.ndarray) -> None:
    request = _request(array)
    decoded = decode_inputs(request, NO_REGIONS)["x"]
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)
    answer = encode_answer(request, {"out": decoded}, NO_REGIONS, "1")
    (output,) = answer.outputs
    assert (output.name, output.datatype, tuple(output.shape)) == ("out", kserve_name(array.dtype), array.shape)
    assert answer.raw_output_contents[0] == request.raw_input_contents[0]
    assert (answer.id, answer.model_version) == ("7", "1")


def test_answers_are_contiguous() -> None:
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    answer = encode_answer(pb.ModelInferRequest(), {"out": turned}, NO_REGIONS, "1")
    assert answer.raw_output_contents[0] == np.ascontiguousarray(turned).tobytes()


def test_raw_contents_must_be_as_many_as_inputs() -> None:
    request = _request(np.zeros(2, np.float32))
    request.raw_input_contents.append(b"")
    with pytest.raises(InvalidRequest):
        decode_inputs(request, NO_REGIONS)


@pytest.mark.parametrize(
    ("datatype", "field", "values", "shape"),
    [
        ("FP32", "fp32_contents", [1.0, 2.0], (3,)),
        ("INT8", "int_contents", [300], (1,)),
        ("FP16", "fp32_contents", [1.0], (1,)),
        ("NONSENSE", "fp32_contents", [1.0], (1,)),
    ],
)
def test_typed_contents_that_are_wrong(datatype: str, field: str, values: list[float], shape: tuple[int, ...]) -> None:
    request = pb.ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype=datatype, shape=shape)
    getattr(tensor.contents, field).extend(values)
    with pytest.raises(InvalidRequest):
        decode_inputs(request, NO_REGIONS)


SIGNATURE = Signature(
    (TensorSpec("x", "FP32", ("batch", 4)), TensorSpec("n", "INT64", (1,))), (TensorSpec("out", "FP32", ("batch",)),)
)


def _full(**change: tuple[str, tuple[int, ...]]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m")
    for name, (datatype, shape) in {"x": ("FP32", (2, 4)), "n": ("INT64", (1,)), **change}.items():
        request.inputs.add(name=name, datatype=datatype, shape=shape)
    return request


def test_a_good_request_and_its_outputs() -> None:
    request = _full()
    check_request(request, SIGNATURE)
    assert list(wanted_outputs(request, SIGNATURE)) == ["out"]


@pytest.mark.parametrize(
    "change",
    [
        {"x": ("FP16", (2, 4))},
        {"x": ("FP32", (2, 5))},
        {"x": ("FP32", (8,))},
        {"x": ("FP32", (0, 4))},
        {"x": ("FP32", (-1, 4))},
        {"n": ("INT64", (2,))},
        {"y": ("FP32", (1,))},
    ],
)
def test_inputs_that_do_not_fit(change: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    with pytest.raises(InvalidRequest):
        check_request(_full(**change), SIGNATURE)


def test_the_same_input_twice() -> None:
    request = _full()
    request.inputs.add(name="x", datatype="FP32", shape=(2, 4))
    with pytest.raises(InvalidRequest):
        check_request(request, SIGNATURE)


def test_unknown_output_and_classification() -> None:
    request = _full()
    request.outputs.add(name="none")
    with pytest.raises(InvalidRequest):
        check_request(request, SIGNATURE)
    request = _full()
    request.outputs.add(name="out").parameters["classification"].int64_param = 3
    with pytest.raises(InvalidRequest):
        check_request(request, SIGNATURE)
