"""How much a client may make us keep or compute: heads, bodies, messages, forms, and files that grow when opened."""

from __future__ import annotations

import io
import socket
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from websockets.exceptions import ConnectionClosed

from kit.errors import HeliographError, InvalidRequest
from orchestrator.nodes.latent_file import decode_latent, encode_latent
from orchestrator.nodes.picture_file import load_channel, load_picture
from rest_bridge.app.heads import MAX_HEAD_BYTES
from rest_bridge.pictures import Darkroom
from tests.contract.rest.served import WAIT_S, Served, multipart, running_bridge

MIB = 1024 * 1024


def answer_to(served: Served, *pieces: bytes) -> bytes:
    """The first bytes that come back; the server may close while we still send."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) as client:
        for piece in pieces:
            try:
                client.sendall(piece)
            except OSError:
                break
        try:
            return client.recv(4096)
        except ConnectionResetError:
            return b""


BEGIN = b"GET /queue HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    ("begin", "piece"),
    [(BEGIN, b"X-Flood: " + b"a" * 4000 + b"\r\n"), (BEGIN + b"X: ", b"a" * 4000), (b"GET /", b"a" * 4000)],
    ids=["many headers", "one header", "one address"],
)
def test_a_head_without_end(begin: bytes, piece: bytes, served: Served) -> None:
    """The parser alone would keep it all."""
    pieces = [begin] + [piece] * (1000 * MAX_HEAD_BYTES // 4000 // 100)
    got = answer_to(served, *pieces)
    assert not got or got.startswith(b"HTTP/1.1 431 ")
    assert served.request("GET", "/queue").status == 200


def test_a_head_of_decent_size_is_read(served: Served) -> None:
    assert served.request("GET", "/queue", None, {"Cookie": "c" * 40_000}).status == 200
    assert served.request("GET", "/object_info/" + "x" * 20_000).status == 200


def test_a_head_that_takes_its_time() -> None:
    with running_bridge(rest_body_stall_s=0.3) as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) as slow:
            slow.sendall(BEGIN)
            assert slow.recv(100).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) as silent:
            assert silent.recv(100).startswith(b"HTTP/1.1 408 ")
        with served.socket("patient") as client:
            assert "status" in str(client.recv(timeout=WAIT_S))
            with pytest.raises(TimeoutError):
                client.recv(timeout=0.6)  # a socket may be silent for as long as it likes


def test_a_message_over_the_limit_ends_its_socket_only(served: Served) -> None:
    with served.socket("big") as client, served.socket("other") as other:
        client.recv(timeout=WAIT_S)
        client.send("x" * (2 * MIB))
        with pytest.raises(ConnectionClosed) as ended:
            client.recv(timeout=WAIT_S)
        assert ended.value.rcvd is not None and ended.value.rcvd.code == 1009
        other.recv(timeout=WAIT_S)
        assert other.ping().wait(WAIT_S)


def test_a_compressed_message_is_measured_unpacked(served: Served) -> None:
    with served.socket("bomb", compression="deflate") as client:
        client.recv(timeout=WAIT_S)
        client.send(b"\0" * (24 * MIB))  # some kilobytes on the wire
        with pytest.raises(ConnectionClosed) as ended:
            client.recv(timeout=WAIT_S)
        assert ended.value.rcvd is not None and ended.value.rcvd.code == 1009


def test_bodies_over_the_limit() -> None:
    with running_bridge(max_upload_mib=1) as served:
        for path in ("/prompt", "/queue", "/settings/a", "/userdata/a", "/upload/image", "/explain", "/free"):
            assert served.request("POST", path, b"x" * (MIB + 1)).status == 413, path
            chunked = (b"x" * (MIB // 2) for _ in range(3))  # of a form, see test_uploads
            assert path == "/upload/image" or served.request("POST", path, chunked).status == 413  # type: ignore[arg-type]
        claimed = b"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999999999\r\n\r\n"
        assert answer_to(served, claimed).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: -1", b"Content-Length: 5x",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked, identity",
        b"Content-Length: +5",
    ],
)  # fmt: skip
def test_bodies_of_two_lengths(framing: bytes, served: Served) -> None:
    """Request smuggling: whoever stands before us must not read another end of the request than we do."""
    got = answer_to(served, b"POST /interrupt HTTP/1.1\r\nHost: 127.0.0.1\r\n" + framing + b"\r\n\r\n{}   ")
    assert got.startswith(b"HTTP/1.1 400 ") or not got
    assert not served.backend.called("CancelRun")


def test_forms_of_many_parts(served: Served) -> None:
    for fields in (
        [("image", f"{number}.png", b"x") for number in range(50)],
        [(f"field{number}", None, b"x") for number in range(500)],
        [("image", "a.png", b"x"), ("subfolder", None, b"y" * (2 * MIB))],
    ):
        body, kind = multipart(fields)
        assert served.request("POST", "/upload/image", body, {"Content-Type": kind}).status == 400
    assert served.backend.files == {}


# Files that grow when they are opened --------------------


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, *more: bytes) -> bytes:
    """A grey PNG whose header may promise what it likes."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (png_chunk(b"IHDR", head), *more, png_chunk(b"IDAT", zlib.compress(bytes(1000))), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def animation(kind: str, frames: int, side: int) -> bytes:
    target = io.BytesIO()
    pictures = [Image.new("L", (side, side), number * 37 % 251) for number in range(frames)]
    pictures[0].save(target, kind, save_all=True, append_images=pictures[1:])
    return target.getvalue()


PACKED = zlib.compress(b"a" * 1_000_000, 1)
TEXT_BOMB = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * (20 * MIB), 1))
BOMBS: dict[str, Callable[[], bytes]] = {
    "png of 43 GB": lambda: png_of(60_000, 60_000),
    "png of 2^62 pixels": lambda: png_of(2**31 - 1, 2**31 - 1),
    "text of 20 MiB": lambda: png_of(8, 8, TEXT_BOMB),
    "texts of 80 MiB together": lambda: png_of(
        8, 8, *[png_chunk(b"zTXt", b"k%d\0\0" % number + PACKED) for number in range(80)]
    ),
    "bmp of 2^31 pixels": lambda: (
        b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 2**30, 2, 1, 24, *[0] * 6)
    ),
    "gif header alone": lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + bytes(6) + b"\x2c",
}


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow's warning below its own limit
@pytest.mark.parametrize("bomb", BOMBS)
def test_pictures_that_promise_too_much(bomb: str, tmp_path: Path) -> None:
    path, content = tmp_path / "bomb.png", BOMBS[bomb]()
    path.write_bytes(content)
    for work in (lambda: load_picture(path), lambda: load_channel(path, "red")):
        with pytest.raises(InvalidRequest) as caught:
            work()
        assert caught.value.reason in ("PICTURE_FILE", "TENSOR_SIZE")
    darkroom = Darkroom(16 * MIB)
    for refuse in (
        lambda: darkroom._preview(content, "webp", 50, False),
        lambda: darkroom._without_alpha(content),
        lambda: darkroom._alpha_only(content),
        lambda: darkroom._with_alpha_of(content, png_of(8, 8)),
    ):
        with pytest.raises(InvalidRequest) as caught:
            refuse()
        assert caught.value.reason in ("IMAGE_TOO_LARGE", "NOT_AN_IMAGE")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_without_end(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 frames in a file of a few hundred bytes; the limit is lowered to make the test quick."""
    (tmp_path / "a").write_bytes(animation(kind, 40, 32))
    assert load_picture(tmp_path / "a")[0].shape[0] == 40
    monkeypatch.setattr("orchestrator.nodes.bounds.MAX_ELEMENTS", 20 * 32 * 32 * 4)
    with pytest.raises(InvalidRequest) as caught:
        load_picture(tmp_path / "a")
    assert caught.value.reason == "TENSOR_SIZE"


def test_pictures_that_other_programs_would_draw(tmp_path: Path) -> None:
    """Pillow hands EPS to Ghostscript."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch /tmp/x)(w)file\n%%EOF\n"
    (tmp_path / "a.png").write_bytes(eps)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        load_picture(tmp_path / "a.png")
    with pytest.raises(InvalidRequest, match="not a picture"):
        Darkroom(MIB)._preview(eps, "webp", 50, False)


def seeds() -> list[tuple[str, bytes]]:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 4), np.uint8))
    found = [("LATENT", encode_latent(torch.zeros(1, 4, 2, 2), {"a": "b"}))]
    for kind in ("PNG", "WEBP", "GIF", "TIFF", "BMP", "TGA", "ICO", "JPEG", "JPEG2000", "AVIF", "QOI", "PPM"):
        target, text = io.BytesIO(), PngImagePlugin.PngInfo()
        text.add_text("prompt", "{}")
        shown = picture.convert("RGB") if kind in ("JPEG", "PPM") else picture
        shown.save(target, kind, **({"pnginfo": text} if kind == "PNG" else {}))
        found.append((kind, target.getvalue()))
    return found


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it then refuses
@pytest.mark.parametrize(("kind", "content"), seeds(), ids=[kind for kind, _ in seeds()])
def test_damaged_files_are_typed_errors(kind: str, content: bytes, tmp_path: Path) -> None:
    rng, path = np.random.default_rng(1), tmp_path / "damaged"
    for _ in range(30):
        damaged = bytearray(content)
        for _ in range(int(rng.integers(1, 6))):
            place = int(min(rng.exponential(40), len(damaged) - 1))
            damaged[place] = int(rng.choice([0, 255, 127, rng.integers(256)]))
        path.write_bytes(damaged if rng.random() < 0.8 else damaged[: int(rng.integers(1, len(damaged)))])
        for work in (decode_latent,) if kind == "LATENT" else (load_picture, read_channel, previewed, alpha_of):
            with suppress(HeliographError):
                work(path)


def read_channel(path: Path) -> None:
    load_channel(path, "alpha")


def previewed(path: Path) -> None:
    Darkroom(MIB)._preview(path.read_bytes(), "webp", 50, False)


def alpha_of(path: Path) -> None:
    Darkroom(MIB)._alpha_only(path.read_bytes())
