"""ArtifactService over a real server: names, copies, ranges, and what a half upload leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from heliograph.artifact.v1 import artifact_service_pb2 as pb

from kit.errors import HeliographError, InvalidRequest, NotFound
from kit.status import from_rpc_error
from tests.support.fronts import Running, running_front


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_front(tmp_path, max_upload_mib=1) as running:
        yield running


def parts(
    name: str, *chunks: bytes, area: str = "input", subfolder: str = "", overwrite: bool = False
) -> Iterator[Any]:
    ref = pb.ArtifactRef(type=area, subfolder=subfolder, filename=name)
    yield pb.UploadArtifactRequest(header=pb.UploadHeader(ref=ref, overwrite=overwrite))
    yield from (pb.UploadArtifactRequest(chunk=chunk) for chunk in chunks)


async def upload(front: Running, name: str, *chunks: bytes, **options: Any) -> str:
    answer = await front.artifacts.UploadArtifact(parts(name, *chunks, **options))
    return f"{answer.ref.type}/{answer.ref.subfolder}/{answer.ref.filename}"


async def download(front: Running, name: str, **options: Any) -> bytes:
    request = pb.DownloadArtifactRequest(ref=pb.ArtifactRef(type="input", filename=name), **options)
    return b"".join([answer.chunk async for answer in front.artifacts.DownloadArtifact(request)])


async def failure(call: Any) -> HeliographError:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def files(tmp_path: Path) -> set[str]:
    found = (path for path in tmp_path.rglob("*") if path.is_file() and "heliograph" not in path.name)
    return {str(path.relative_to(tmp_path)) for path in found}


async def test_upload_and_download(front: Running) -> None:
    assert await upload(front, "a.png", b"one", b"two", subfolder="x/y") == "input/x/y/a.png"
    assert await upload(front, "b.bin", b"0123456789") == "input//b.bin"
    assert await download(front, "b.bin") == b"0123456789"
    assert await download(front, "b.bin", offset=3, length=4) == b"3456"
    assert await download(front, "b.bin", offset=10) == b""
    ref = pb.ArtifactRef(type="input", filename="b.bin")
    stat = await front.artifacts.StatArtifact(pb.StatArtifactRequest(ref=ref))
    assert stat.size_bytes == 10 and stat.modified_ns > 0
    listed = await front.artifacts.ListArtifacts(pb.ListArtifactsRequest(type="input"))
    assert list(listed.filenames) == ["b.bin"]


async def test_taken_names(front: Running) -> None:
    assert await upload(front, "a.png", b"1") == "input//a.png"
    assert await upload(front, "a.png", b"1") == "input//a.png"
    assert await upload(front, "a.png", b"2") == "input//a (1).png"
    assert await upload(front, "a.png", b"2") == "input//a (1).png"
    assert await upload(front, "a.png", b"3") == "input//a (2).png"
    assert await upload(front, "a.png", b"4", overwrite=True) == "input//a.png"
    assert await download(front, "a.png") == b"4"


async def test_same_name_at_once_loses_nothing(front: Running) -> None:
    names = await asyncio.gather(*(upload(front, "a.png", b"%d" % number) for number in range(16)))
    assert len(set(names)) == 16
    assert {await download(front, name.split("/")[-1]) for name in names} == {b"%d" % number for number in range(16)}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("../a.png", {}), ("a/b.png", {}), ("", {}), ("..", {}), ("a\0b", {}), ("a" * 300, {}),
        ("a.png", {"subfolder": "../x"}), ("a.png", {"subfolder": "/etc"}), ("a.png", {"subfolder": "x/../../y"}),
        ("a.png", {"subfolder": ".partial"}), ("a.png", {"area": "models"}), ("a.png", {"subfolder": "link"}),
    ],
)  # fmt: skip
async def test_names_that_lead_elsewhere_are_refused(
    front: Running, tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    (tmp_path / "input" / "link").symlink_to("/tmp")
    before = files(tmp_path)
    assert isinstance(await failure(upload(front, name, b"x", **options)), InvalidRequest)
    assert files(tmp_path) == before


async def test_too_large_is_refused_and_leaves_nothing(front: Running, tmp_path: Path) -> None:
    error = await failure(upload(front, "big.bin", *[b"x" * 300_000] * 5))
    assert isinstance(error, InvalidRequest) and error.reason == "UPLOAD_TOO_LARGE"
    assert files(tmp_path) == set()


async def test_an_upload_that_is_broken_off_leaves_nothing(front: Running, tmp_path: Path) -> None:
    for _ in range(20):
        begun = asyncio.Event()

        async def half(begun: asyncio.Event = begun) -> AsyncIterator[Any]:
            for part in parts("half.bin", b"x" * 1000):
                yield part
            begun.set()
            await asyncio.sleep(3600)

        call = front.artifacts.UploadArtifact(half())
        await begun.wait()
        await front.artifacts.ListArtifacts(pb.ListArtifactsRequest(type="input"))
        call.cancel()
    while list((tmp_path / "input" / ".partial").iterdir()):
        await asyncio.sleep(0.01)
    assert files(tmp_path) == set()


async def test_bad_requests(front: Running) -> None:
    assert isinstance(await failure(download(front, "none.png")), NotFound)
    await upload(front, "b.bin", b"0123")
    assert isinstance(await failure(download(front, "b.bin", offset=5)), InvalidRequest)
    assert isinstance(await failure(download(front, "b.bin", offset=-1)), InvalidRequest)
    no_header = front.artifacts.UploadArtifact(iter([pb.UploadArtifactRequest(chunk=b"x")]))
    assert isinstance(await failure(no_header), InvalidRequest)
    assert isinstance(await failure(front.artifacts.UploadArtifact(iter([]))), InvalidRequest)
    assert isinstance(await failure(front.artifacts.ListArtifacts(pb.ListArtifactsRequest(type="x"))), InvalidRequest)


async def test_temp_is_emptied_at_start_and_partials_are_removed(tmp_path: Path) -> None:
    (tmp_path / "temp" / "sub").mkdir(parents=True)
    (tmp_path / "temp" / "sub" / "old.png").touch()
    (tmp_path / "output" / ".partial").mkdir(parents=True)
    (tmp_path / "output" / ".partial" / "left").touch()
    (tmp_path / "output" / "keep.png").touch()
    async with running_front(tmp_path):
        assert files(tmp_path) == {"output/keep.png"}
