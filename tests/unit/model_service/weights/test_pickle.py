"""The inert pickle reader: agrees with torch, points into the file, and nothing in a file ever runs."""

from __future__ import annotations

import builtins
import codecs
import functools
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.errors import HeliographError, Unsupported
from model_service.weights import pickle_machine
from model_service.weights.reader import read_header, read_tensor
from tests.unit.model_service.weights.pickles import (
    integer,
    legacy,
    model,
    named,
    refused,
    tensor,
    text,
    tupled,
    zipped,
)

torch = pytest.importorskip("torch")


# Agreement with torch --------------------


def state():
    weights = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    return OrderedDict(
        f32=weights,
        slice=weights[2:],
        f16=torch.ones(3, dtype=torch.float16),
        bf16=torch.tensor([1.5, -2.0]).bfloat16(),
        fp8=torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn),
        f64=torch.zeros(2, dtype=torch.float64),
        i64=torch.tensor(7),
        u8=torch.tensor([1, 255], dtype=torch.uint8),
        u16=torch.tensor([1, 65535], dtype=torch.uint16),
        flags=torch.tensor([True, False]),
        none=torch.empty(0, 3),
        one=torch.ones(1, 5, 1).transpose(0, 2),
        parameter=torch.nn.Parameter(torch.ones(2, 2)),
    )


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_we_read_what_torch_reads(tmp_path, new_format):
    path = tmp_path / "model.ckpt"
    saved = state()
    if not new_format:
        for name in ("fp8", "u16"):
            del saved[name]
    torch.save(saved, path, _use_new_zipfile_serialization=new_format)
    header = read_header(path)
    loaded = torch.load(path, weights_only=True)
    assert list(header.tensors) == list(loaded)
    for name, theirs in loaded.items():
        ours = read_tensor(header, name)
        assert tuple(ours.shape) == tuple(theirs.shape)
        assert ours.tobytes() == theirs.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes(), name
        stored = header.tensors[name]
        assert path.read_bytes()[stored.offset : stored.offset + stored.nbytes] == ours.tobytes()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_all_protocols(tmp_path, protocol):
    path = tmp_path / "model.pt"
    torch.save({"a" * 300: torch.ones(2), "b": torch.zeros(1)}, path, pickle_protocol=protocol)
    assert list(read_header(path).tensors) == ["a" * 300, "b"]


def test_a_module_state_with_its_metadata(tmp_path):
    path = tmp_path / "model.pt"
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    torch.save({"state_dict": module.state_dict(), "global_step": 17, "epoch": 2.5}, path)
    header = read_header(path)
    assert set(header.tensors) == set(module.state_dict())


def test_lightning_checkpoints_with_their_known_leftovers(tmp_path):
    body = model(
        state_dict=b"}(" + text("w") + tensor() + b"u",
        callbacks=b"}" + named("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint") + b"}s",
        loss=named("numpy.core.multiarray", "scalar")
        + tupled(
            named("numpy", "dtype") + tupled(text("f8"), b"K\0", b"K\1") + b"R",
            named("_codecs", "encode") + tupled(text("abcd"), text("latin1")) + b"R",
        )
        + b"R",
    )
    assert list(read_header(zipped(tmp_path / "x.ckpt", body)).tensors) == ["w"]


def test_an_unknown_class_beside_the_weights_is_refused_by_name(tmp_path):
    body = model(state_dict=b"}(" + text("w") + tensor() + b"u", hyper=named("omegaconf", "DictConfig") + b")R")
    error = refused(zipped(tmp_path / "x.ckpt", body), "PICKLE_FORBIDDEN")
    assert error.facts["name"] == "omegaconf.DictConfig"


@pytest.mark.parametrize("wrapper", ["state_dict", "params", "params_ema", "model"])
def test_wrappers_are_taken_off(tmp_path, wrapper):
    path = tmp_path / "model.pth"
    torch.save({wrapper: {"conv.weight": torch.ones(1)}}, path)
    assert list(read_header(path).tensors) == ["conv.weight"]


def test_averaged_weights_win(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"params": {"w": torch.zeros(1)}, "params_ema": {"w": torch.ones(1)}}, path)
    assert read_tensor(read_header(path), "w")[0] == 1


def test_embeddings_and_hypernetworks_keep_their_structure(tmp_path):
    path = tmp_path / "ti.pt"
    torch.save(
        {
            "string_to_token": {"*": torch.tensor(265)},
            "string_to_param": {"*": torch.ones(2, 8)},
            "name": "x",
            "step": 5,
        },
        path,
    )
    header = read_header(path)
    assert header.tensors["string_to_param/*"].shape == (2, 8)
    assert header.metadata == {"name": "x", "step": "5"}
    torch.save({"string_to_param": {"*": torch.ones(2, 8)}}, path)
    assert list(read_header(path).tensors) == ["string_to_param/*"]
    torch.save(
        {768: [{"linear.weight": torch.ones(1)}, {"linear.weight": torch.ones(2)}], "activation_func": "relu"}, path
    )
    header = read_header(path)
    assert list(header.tensors) == ["768/0/linear.weight", "768/1/linear.weight"]
    assert header.metadata == {"activation_func": "relu"}
    torch.save(torch.ones(3), path)
    assert list(read_header(path).tensors) == ["tensor"]


def test_transposed_tensors_are_a_typed_error(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"w": torch.ones(2, 3).t()}, path)
    with pytest.raises(Unsupported) as caught:
        read_header(path)
    assert caught.value.reason == "WEIGHTS_LAYOUT"
    torch.save({"w": torch.ones(1).expand(5)}, path)
    with pytest.raises(Unsupported):
        read_header(path)


def test_no_torch_is_imported():
    modules = "model_service.weights.reader, model_service.weights.lora, model_service.catalogue.catalogue"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Attacks --------------------


class Reduced:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


ATTACKS = {
    "os.system": lambda mark: Reduced(os.system, f"touch {mark}"),
    "subprocess": lambda mark: Reduced(subprocess.check_call, ["touch", mark]),
    "eval": lambda mark: Reduced(eval, f"open({mark!r}, 'w')"),
    "exec": lambda mark: Reduced(exec, f"open({mark!r}, 'w')"),
    "open": lambda mark: Reduced(open, mark, "w"),
    "getattr": lambda mark: Reduced(getattr, "", "join"),
    "import": lambda mark: Reduced(builtins.__import__, "antigravity"),
    "partial": lambda mark: Reduced(functools.partial, os.system, f"touch {mark}"),
    "nested": lambda mark: {"w": [({"x": Reduced(OrderedDict, [("a", Reduced(os.mkdir, mark))])},)]},
    "in a key": lambda mark: {Reduced(os.mkdir, mark): 1},
    "in a state": lambda mark: Reduced(OrderedDict, state={"a": Reduced(os.mkdir, mark)}),
    "torch.load": lambda mark: Reduced(torch.load, mark),
    "torch.hub": lambda mark: Reduced(torch.hub.load, "evil/repo", "model"),
    "codecs.open": lambda mark: Reduced(codecs.open, mark, "w"),
    "numpy loads": lambda mark: Reduced(np.load, mark),
    "type": lambda mark: Reduced(type, "X", (), {}),
}


@pytest.mark.parametrize("container", ["zip", "legacy", "bare"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_and_do_nothing(tmp_path, attack, protocol, container):
    mark = tmp_path / "mark"
    body = pickle.dumps(ATTACKS[attack](str(mark)), protocol=protocol)
    path = tmp_path / "evil.ckpt"
    if container == "zip":
        zipped(path, body)
    elif container == "legacy":
        legacy(path, body, {}, {})
    else:
        path.write_bytes(body)
    before = set(sys.modules)
    error = refused(path)
    if protocol and container != "bare":
        assert error.reason == "PICKLE_FORBIDDEN"
        assert "." in error.facts["name"]
    assert not mark.exists()
    assert not {name for name in set(sys.modules) - before if "antigravity" in name}


RAW_ATTACKS = {
    "global by dots": named("torch", "serialization.os.system"),
    "global in an allowed module": named("collections", "namedtuple"),
    "global in torch._utils": named("torch._utils", "_import_dotted_name"),
    "storage elsewhere": named("os", "FloatStorage"),
    "allowed name elsewhere": named("evil", "_rebuild_tensor_v2"),
    "stack global": text("os") + text("system") + b"\x93",
    "stack global by memo": text("system") + b"q\0" + b"0" + text("posix") + b"h\0\x93",
    "stack global, number": text("os") + b"K\1\x93",
    "stack global, global": named("collections", "OrderedDict") + text("x") + b"\x93",
    "stack global, bytes": b"C\2osC\6system\x93",
    "instance": b"(" + text("touch x") + b"ios\nsystem\n",
    "object": b"(" + named("collections", "OrderedDict") + b"o",
    "extension": b"\x82\1",
    "newobj_ex": named("collections", "OrderedDict") + b")}\x92",
    "call of text": text("os") + b")R",
    "call of a tensor": tensor() + b")R",
    "call of a dictionary": b"})R",
    "call of a storage class": named("torch", "FloatStorage") + b")R",
    "arguments are a list": named("collections", "OrderedDict") + b"]R",
    "state on text": text("a") + b"}b",
    "state on a list": b"]}b",
    "state on a function": named("collections", "OrderedDict") + b"}b",
    "persistent text": text("storage") + b"Q",
    "persistent module": tupled(text("module"), named("torch", "FloatStorage"), text("0"), text("cpu"), integer(4))
    + b"Q",
    "persistent text opcode": b"Pevil\n",
    "tensor of no storage": named("torch._utils", "_rebuild_tensor_v2")
    + tupled(b"N", b"K\0", b")", b")", b"\x89", b"N")
    + b"R",
    "tensor without arguments": named("torch._utils", "_rebuild_tensor_v2") + b")R",
    "parameter of text": named("torch._utils", "_rebuild_parameter") + tupled(text("a"), b"\x89", b"N") + b"R",
    "dictionary of text": named("collections", "OrderedDict") + tupled(text("abcd")) + b"R",
    "dictionary of odd pairs": named("collections", "OrderedDict") + tupled(b"](K\1e") + b"R",
    "key is a dictionary": b"}}K\1s",
    "key is a list": b"}]K\1s",
    "key is a deep tuple": b"}" + b")" + b"2\x86" * 60 + b"K\1s",
    "append to a dictionary": b"}K\1a",
    "set items of a list": b"](K\1K\2u",
    "set items, odd": b"}(K\1u",
    "empty stack": b"0000",
    "empty dup": b"(2",
    "mark without items": b"tt",
    "memo not there": b"h\7",
    "memo far away": b"j\xff\xff\xff\xff",
    "unknown opcode": b"\xff",
    "text too long": b"X\xff\xff\xff\xff",
    "text of 2^63": b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
    "bytes negative": b"T\xff\xff\xff\xff",
    "long negative": b"\x8b\xff\xff\xff\xff",
    "long of 255 bytes": b"\x8a\xff" + b"\1" * 255,
    "text not utf-8": b"X\2\0\0\0\xff\xfe",
    "frame too long": b"\x95\xff\xff\xff\xff\xff\xff\xff\xff",
    "protocol 9": b"\x80\x09",
    "endless name": b"c" + b"a" * 1000,
    "name not utf-8": b"c\xff\nx\n",
    "buffer": b"\x97",
}


@pytest.mark.parametrize("attack", RAW_ATTACKS)
def test_broken_and_tricky_opcodes_are_refused(tmp_path, attack):
    refused(zipped(tmp_path / "evil.pt", model(w=tensor(), x=RAW_ATTACKS[attack])))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b".",
        b"\x80",
        b"\x80\x02",
        b"\x80\x02}",
        b"\x80\x02}}.",
        b"\x80\x02(.",
        b"\x80\x02(}.",
        b"\x80\x02N.",
        model(),
    ],
)
def test_pickles_without_a_model_are_refused(tmp_path, body):
    refused(zipped(tmp_path / "empty.pt", body))


BAD_TENSORS = {
    "beyond its storage": {"shape": (5,)},
    "begins beyond": {"first": 1},
    "negative first": {"first": -1},
    "negative side": {"shape": (-4,)},
    "overflow": {"shape": (1 << 40, 1 << 40), "strides": (1 << 40, 1)},
    "overflow to few": {"shape": (1 << 32, 1 << 32, 1), "strides": (1 << 32, 1, 1)},
    "too few strides": {"strides": ()},
    "storage has another size": {"count": 3, "shape": (3,)},
    "storage is huge": {"count": 1 << 40},
    "storage is negative": {"count": -1},
    "storage is missing": {"key": "7"},
    "storage elsewhere": {"key": "../version"},
    "another element size": {"storage": "DoubleStorage"},
    "too many sides": {"shape": (1,) * 40, "strides": (1,) * 40},
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_tensors_outside_their_storage_are_refused(tmp_path, case):
    refused(zipped(tmp_path / "evil.pt", model(w=tensor(**BAD_TENSORS[case]))), "PICKLE_BROKEN")


def test_one_storage_with_two_types_is_refused(tmp_path):
    refused(zipped(tmp_path / "evil.pt", model(a=tensor(), b=tensor(storage="IntStorage"))), "PICKLE_BROKEN")


def test_memo_bombs_stay_small(tmp_path):
    # Each list holds the one before twice: 2^40 leaves if anybody walked them.
    bomb = b"]q\0" + b"".join(b"](h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(40))
    wide = b"](" + b"N" * 100_000 + b"eq\0" + b"](" + b"h\0" * 100_000 + b"e"
    endless = b"]q\0h\0a"
    for body in (bomb, wide, endless, b"](" * 1 + b"]" + b"\x85" * 50_000 + b"e"):
        path = zipped(tmp_path / "bomb.pt", model(w=tensor(), x=body))
        tracemalloc.start()
        try:
            refused(path, "PICKLE_BROKEN")
            assert tracemalloc.get_traced_memory()[1] < 100_000_000
        finally:
            tracemalloc.stop()


def test_a_far_memo_index_costs_nothing(tmp_path):
    body = model(w=tensor() + b"r\xff\xff\xff\xff")
    assert list(read_header(zipped(tmp_path / "m.pt", body)).tensors) == ["w"]


def test_opcodes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(pickle_machine, "MAX_OPCODES", 1000)
    refused(zipped(tmp_path / "long.pt", model(w=tensor(), x=b"N0" * 1000 + b"N")), "PICKLE_BROKEN")


def test_the_pickle_is_bounded_before_it_is_read(tmp_path):
    path = zipped(tmp_path / "large.pt", b"\x80\x02" + b"N0" * (17 << 20) + b"N.")
    tracemalloc.start()
    try:
        refused(path, "PICKLE_BROKEN")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120, deadline=None)
@given(
    body=st.lists(
        st.sampled_from(
            [*RAW_ATTACKS.values(), tensor(), b"(", b"t", b"u", b"}", b"]", b"e", b"R", b"q\0", b"h\0", b"\x86", b"N"]
        ),
        max_size=12,
    ).map(b"".join)
)
def test_any_mixture_of_opcodes_gives_a_header_or_a_typed_error(tmp_path, body):
    try:
        read_header(zipped(tmp_path / "fuzz.pt", b"\x80\x02" + body + b"."))
    except HeliographError:
        return
