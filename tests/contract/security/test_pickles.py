"""Code in model files: every folder, every ending, and the tricks that got past other readers."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit.errors import HeliographError, InvalidModel, NotFound
from model_service.catalogue.catalogue import Catalogue
from model_service.catalogue.folders import model_folders
from model_service.catalogue.identity import Identities
from model_service.weights.reader import read_header
from tests.support import broken_files
from tests.unit.model_service.weights.pickles import legacy, model, named, tensor, text, tupled, zipped

ENDINGS = ("ckpt", "pt", "pt2", "pth", "bin", "pkl", "sft", "safetensors")


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """Exists if code of a hostile file ran."""
    mark = tmp_path / "code-ran"
    yield mark
    assert not mark.exists()


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    identities = Identities(tmp_path / "cache")
    yield Catalogue(model_folders(tmp_path / "models", tmp_path / "output"), identities)
    identities.close()


def test_every_folder_and_ending_is_read_by_the_same_reader(catalogue: Catalogue, marker: Path) -> None:
    """Checkpoints, LoRAs, embeddings, VAEs, upscalers and the rest."""
    tried = set()
    for folder in catalogue.folders():
        for directory in catalogue.directories(folder)[:1]:
            directory.mkdir(parents=True, exist_ok=True)
            for ending in ENDINGS:
                broken_files.hostile_zip(directory / f"zip.{ending}", marker)
                (directory / f"bare.{ending}").write_bytes(broken_files.hostile_pickle(marker))
        for name in catalogue.list(folder):
            if not name.startswith(("zip.", "bare.")):
                continue
            with pytest.raises(InvalidModel) as caught:
                catalogue.header(folder, name)
            assert caught.value.reason.startswith("PICKLE_"), (folder, name)
            tried.add(folder)
    assert {"checkpoints", "loras", "embeddings", "vae", "upscale_models", "controlnet", "hypernetworks"} <= tried


def hostile(mark: Path) -> bytes:
    return broken_files.hostile_pickle(mark)


def in_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def in_tar(path: Path, mark: Path) -> None:
    """torch's format before 0.1.10: a tar with pickles beside each other."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(hostile(mark))
            archive.addfile(entry, io.BytesIO(hostile(mark)))


def flagged(path: Path, mark: Path) -> None:
    """A member marked as encrypted: readers that skip it and loaders that do not look see different files."""
    in_zip(path, {"archive/data.pkl": hostile(mark), "archive/version": b"3"})
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + offset] |= 1
    path.write_bytes(raw)


def bad_sum(path: Path, mark: Path) -> None:
    in_zip(path, {"archive/data.pkl": hostile(mark), "archive/version": b"3"})
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02") + 16
    raw[at] ^= 0xFF
    path.write_bytes(raw)


def prefixed(path: Path, mark: Path) -> None:
    in_zip(path, {"archive/data.pkl": hostile(mark), "archive/version": b"3"})
    path.write_bytes(b"\x7fELF" + path.read_bytes())


TRICKS: dict[str, Callable[[Path, Path], object]] = {
    # Code first, then a stream that breaks: a scanner gives up where an unpickler has already obeyed.
    "broken after the call": lambda path, mark: path.write_bytes(hostile(mark)[:-1] + b"\xff\xff"),
    "broken in a zip": lambda path, mark: zipped(path, hostile(mark)[:-1] + b"X\xff\xff\xff\x7f"),
    "second pickle behind an honest one": lambda path, mark: path.write_bytes(model(w=text("a")) + hostile(mark)),
    "legacy: hostile after the magic": lambda path, mark: legacy(path, hostile(mark), {}, {}),
    "legacy: hostile in place of the magic": lambda path, mark: path.write_bytes(hostile(mark) * 5),
    "tar": in_tar,
    "gzip": lambda path, mark: path.write_bytes(gzip.compress(hostile(mark))),
    "bzip2": lambda path, mark: path.write_bytes(bz2.compress(hostile(mark))),
    "7z": lambda path, mark: path.write_bytes(b"7z\xbc\xaf\x27\x1c\0\4" + hostile(mark)),
    "zip in a zip": lambda path, mark: in_zip(path, {"archive/data.pkl": broken_zip(path, mark)}),
    "zip with two data.pkl": lambda path, mark: in_zip(
        path, {"a/data.pkl": model(w=tensor()), "b/data.pkl": hostile(mark), "a/data/0": bytes(16)}
    ),
    "compressed": lambda path, mark: in_zip(path, {"archive/data.pkl": hostile(mark)}, zipfile.ZIP_DEFLATED),
    "encrypted flag": flagged,
    "wrong checksum": bad_sum,
    "zip behind a prefix": prefixed,
    "TorchScript": lambda path, mark: in_zip(
        path, {"m/data.pkl": hostile(mark), "m/constants.pkl": hostile(mark), "m/code/__torch__.py": b"import os"}
    ),
    "numpy": lambda path, mark: path.write_bytes(b"\x93NUMPY\1\0v\0{'descr': '|O', 'shape': ()}" + hostile(mark)),
}


def broken_zip(path: Path, mark: Path) -> bytes:
    inner = path.with_suffix(".inner")
    broken_files.hostile_zip(inner, mark)
    return inner.read_bytes()


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
@pytest.mark.parametrize("trick", TRICKS)
def test_what_got_past_other_readers(trick: str, ending: str, tmp_path: Path, marker: Path) -> None:
    path = tmp_path / f"m.{ending}"
    TRICKS[trick](path, marker)
    with pytest.raises(HeliographError):
        read_header(path)


# Names that lists of allowed or forbidden ones have missed somewhere, each called with something harmful.
GADGETS = (
    "torch.storage _load_from_bytes",
    "torch.jit.unsupported_tensor_ops execWrapper",
    "torch.serialization load",
    "torch._utils _rebuild_device_tensor_from_numpy",
    "torch._utils _rebuild_wrapper_subclass",
    "torch._tensor _rebuild_from_type_v2",
    "torch.utils.collect_env run",
    "torch.hub load",
    "torch.distributed.rpc rpc_sync",
    "torch._inductor.codecache compile_file",
    "torch.cuda.nvtx range",
    "torch.fx.graph_module _forward_from_src",
    "torch._dynamo.guards GuardBuilder.get",
    "torch.utils.data.datapipes.utils.decoder basichandlers",
    "numpy.core.multiarray _reconstruct",
    "numpy.f2py.crackfortran getlincoef",
    "numpy.testing._private.utils runstring",
    "numpy load",
    "joblib load",
    "pandas read_pickle",
    "pip main",
    "pydoc pipepager",
    "timeit timeit",
    "bdb Bdb.run",
    "idlelib.pyshell ModifiedInterpreter.runcode",
    "asyncio.unix_events _UnixSubprocessTransport._start",
    "code interact",
    "cProfile run",
    "profile runctx",
    "trace Trace.runctx",
    "doctest debug_script",
    "ensurepip _run_pip",
    "lib2to3.pgen2.pgen x",
    "runpy run_path",
    "webbrowser open",
    "shutil rmtree",
    "ctypes CDLL",
    "importlib import_module",
    "pkgutil resolve_name",
    "builtins exec",
    "__builtin__ eval",
    "builtins getattr",
    "posix system",
    "nt system",
    "os popen",
    "os spawnv",
    "commands getoutput",
    "subprocess Popen",
    "multiprocessing.util spawnv_passfds",
    "operator attrgetter",
    "operator methodcaller",
    "functools partial",
    "types FunctionType",
    "types CodeType",
    "marshal loads",
    "_pickle loads",
    "pickle loads",
    "dill.settings x",
    "cloudpickle.cloudpickle _make_function",
    "socket create_connection",
    "urllib.request urlopen",
    "requests.api get",
    "aiohttp.client ClientSession",
    "ssl get_server_certificate",
    "logging.config _resolve",
    "sys exit",
    "collections namedtuple",
    "collections OrderedDict.__reduce__",
    "copyreg _reconstructor",
    "site execsitecustomize",
)


@pytest.mark.parametrize("gadget", GADGETS)
def test_no_gadget_is_called(gadget: str, tmp_path: Path, marker: Path) -> None:
    module, name = gadget.split(" ")
    call = tupled(text(f"touch {marker}")) + b"R"
    bodies = {
        "global": named(module, name) + call,
        "stack global": text(module) + text(name) + b"\x93" + call,
        "instance": b"(" + text("x") + f"i{module}\n{name}\n".encode(),
        "object": b"(" + named(module, name) + text("x") + b"o",
        "new object": named(module, name) + tupled(text("x")) + b"\x81",
        "build": named(module, name) + b"}" + text("a") + text("b") + b"sb",
    }
    for place, body in bodies.items():
        path = zipped(tmp_path / "m.ckpt", model(w=tensor(), x=body))
        with pytest.raises(InvalidModel) as caught:
            read_header(path)
        assert caught.value.reason.startswith("PICKLE_"), place


GROWING: dict[str, bytes] = {
    "doubling by memo": b"\x80\x02("
    + text("ha")
    + b"q\0"
    + b"".join(b"(" + b"h%c" % n * 9 + b"tq%c" % (n + 1) for n in range(40)),
    "doubling by dup": b"\x80\x02](N" + b"2" * 50_000 + b"t",
    "lists in lists": b"\x80\x02" + b"](" * 20_000,
    "a memo that is far": b"\x80\x02K\1r\xff\xff\xff\x7fK\1r\xfe\xff\xff\x7f.",
    "a long number": b"\x80\x02\x8b\xff\xff\xff\x7f" + bytes(100),
    "deep tuples": b"\x80\x02)" + b"\x85" * 30_000 + b".",
    "nested dictionaries": b"\x80\x02" + b"}K\1" * 20_000 + b"N" + b"s" * 20_000 + b".",
}


@pytest.mark.parametrize("bomb", GROWING)
def test_pickles_that_grow(bomb: str, tmp_path: Path) -> None:
    """Refused within a memory of the file's own order."""
    path = zipped(tmp_path / "m.ckpt", GROWING[bomb], {})
    tracemalloc.start()
    try:
        with pytest.raises(HeliographError):
            read_header(path)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def test_a_name_from_a_graph_reaches_listed_files_only(catalogue: Catalogue, tmp_path: Path, marker: Path) -> None:
    broken_files.hostile_zip(tmp_path / "m.ckpt", marker)
    for name in ("../m.ckpt", "../../m.ckpt", str(tmp_path / "m.ckpt"), "..\\m.ckpt", "m.ckpt\0", "%2e%2e/m.ckpt"):
        with pytest.raises(NotFound):
            catalogue.header("checkpoints", name)


def test_the_hostile_files_are_hostile(tmp_path: Path) -> None:
    """The tests above would pass with harmless ones."""
    pickle.loads(broken_files.hostile_pickle(tmp_path / "ran"))
    assert (tmp_path / "ran").exists()
