"""heliograph.artifact.v1.ArtifactService: decode, call, encode. File work happens in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from heliograph.artifact.v1 import artifact_service_pb2 as pb
from heliograph.artifact.v1 import artifact_service_pb2_grpc as rpc

from kit.errors import InvalidRequest
from orchestrator.clients.artifact_paths import ArtifactRef
from orchestrator.clients.artifacts import LocalArtifacts


class ArtifactServicer(rpc.ArtifactServiceServicer):
    """Files that go in and pictures that come out."""

    def __init__(self, artifacts: LocalArtifacts, max_upload_bytes: int) -> None:
        self._artifacts = artifacts
        self._max_upload_bytes = max_upload_bytes

    async def UploadArtifact(
        self, request_iterator: AsyncIterator[pb.UploadArtifactRequest], context: Any
    ) -> pb.UploadArtifactResponse:
        """Stores a file; an upload that ends early leaves nothing."""
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidRequest("the first message must be the header", reason="NO_HEADER")
        wanted = _ref(first.header.ref)
        with self._artifacts.partial(wanted.area, self._max_upload_bytes) as partial:
            async for request in request_iterator:
                await asyncio.to_thread(partial.write, request.chunk)
            stored = await asyncio.to_thread(self._artifacts.store, partial, wanted, first.header.overwrite)
        return pb.UploadArtifactResponse(ref=_encode(stored))

    async def DownloadArtifact(
        self, request: pb.DownloadArtifactRequest, context: Any
    ) -> AsyncIterator[pb.DownloadArtifactResponse]:
        """Reads a file or a part of it."""
        pieces = self._artifacts.read(_ref(request.ref), request.offset, request.length)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield pb.DownloadArtifactResponse(chunk=piece)

    async def StatArtifact(self, request: pb.StatArtifactRequest, context: Any) -> pb.StatArtifactResponse:
        """Size and time of a file."""
        facts = self._artifacts.find(_ref(request.ref)).stat()
        return pb.StatArtifactResponse(size_bytes=facts.st_size, modified_ns=facts.st_mtime_ns)

    async def ListArtifacts(self, request: pb.ListArtifactsRequest, context: Any) -> pb.ListArtifactsResponse:
        """Names of one area's top level, newest first."""
        return pb.ListArtifactsResponse(filenames=await asyncio.to_thread(self._artifacts.list_names, request.type))


def _ref(message: pb.ArtifactRef) -> ArtifactRef:
    return ArtifactRef(message.type, message.subfolder, message.filename)


def _encode(ref: ArtifactRef) -> pb.ArtifactRef:
    return pb.ArtifactRef(type=ref.area, subfolder=ref.subfolder, filename=ref.filename)
