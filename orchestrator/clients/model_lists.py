"""Names of model files (asked of the model service) and of input files (read from the input area)."""

from __future__ import annotations

import asyncio
import mimetypes
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import grpc
from heliograph.model.v1 import model_service_pb2 as pb
from heliograph.model.v1 import model_service_pb2_grpc as rpc

from kit.errors import HeliographError, NotFound, TooSlow, Unready
from kit.status import from_rpc_error
from kit.telemetry import outgoing
from orchestrator.clients.artifacts import LocalArtifacts

_ENDINGS = {".latent": "latent", ".glb": "3d", ".gltf": "3d", ".obj": "3d", ".fbx": "3d", ".stl": "3d"}


@dataclass(frozen=True)
class Snapshot:
    """Implements `graph.kinds.Lists`: model files as they were asked for, input files as they are now."""

    folders: Mapping[str, tuple[str, ...]]
    artifacts: LocalArtifacts

    def model_files(self, folder: str) -> tuple[str, ...]:
        """File names of a model folder."""
        return self.folders.get(folder, ())

    def input_files(self, content: str) -> tuple[str, ...]:
        """Top-level input files that hold `content`, by name."""
        names = self.artifacts.list_names("input")
        return tuple(sorted(name for name in names if content_of(name) == content))

    def input_exists(self, annotated_name: str) -> bool:
        """Whether the name leads to a file inside its area."""
        try:
            self.artifacts.input_path(annotated_name)
        except HeliographError:
            return False
        return True


class ModelLists:
    """Implements `runs.intake.ListSource`; answers are remembered per folder."""

    def __init__(self, channel: grpc.aio.Channel, artifacts: LocalArtifacts, timeout_s: float) -> None:
        self._stub = rpc.ModelServiceStub(channel)
        self._artifacts = artifacts
        self._timeout_s = timeout_s
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._sizes: dict[str, dict[str, int]] = {}

    async def snapshot(self, folders: Collection[str], max_age_s: float) -> Snapshot:
        """Lists none older than `max_age_s`. Raises Unready (BACKEND_DOWN), TooSlow."""
        since = time.monotonic() - max_age_s
        stale = [folder for folder in folders if folder not in self._known or self._known[folder][0] <= since]
        await asyncio.gather(*(self._refresh(folder) for folder in stale))
        return Snapshot({folder: self._known[folder][1] for folder in folders}, self._artifacts)

    def size(self, folder: str, name: str) -> int:
        """Bytes of a file as it was last listed; 0: it was not."""
        return self._sizes.get(folder, {}).get(name, 0)

    async def release_all(self) -> None:
        """Asks the model service to let go of idle servables. Raises Unready, TooSlow."""
        try:
            await self._stub.ReleaseAll(pb.ReleaseAllRequest(), timeout=self._timeout_s, metadata=outgoing())
        except grpc.RpcError as problem:
            raise from_rpc_error(problem) from problem

    async def _refresh(self, folder: str) -> None:
        asked = time.monotonic()
        request = pb.ListModelsRequest(folder=folder)
        try:
            # A model service that is just starting, or starting again, is waited for: the prompt is not at fault.
            answer = await self._stub.ListModels(
                request, timeout=self._timeout_s, wait_for_ready=True, metadata=outgoing()
            )
        except grpc.RpcError as problem:
            error = from_rpc_error(problem)
            if isinstance(error, TooSlow):
                raise Unready("the model service does not answer", reason="BACKEND_DOWN") from problem
            if not isinstance(error, NotFound):
                raise error from problem
            answer = pb.ListModelsResponse()  # a folder that the installation does not have holds nothing
        self._known[folder] = (asked, tuple(entry.file.name for entry in answer.files))
        self._sizes[folder] = {entry.file.name: entry.size_bytes for entry in answer.files}


def content_of(filename: str) -> str:
    """ "image", "video", "audio", "latent", "3d" or "" by the name's ending."""
    ending = "." + filename.rpartition(".")[2].lower()
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    kind, _ = mimetypes.guess_type(filename, strict=False)
    main = (kind or "").partition("/")[0]
    return main if main in ("image", "video", "audio") else ""
