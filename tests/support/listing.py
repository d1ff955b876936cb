"""A model service that only lists files, as a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from heliograph.common.v1 import file_pb2
from heliograph.model.v1 import model_service_pb2 as pb
from heliograph.model.v1 import model_service_pb2_grpc as rpc

from kit.errors import NotFound
from kit.serve import aio_server


@dataclass
class Listing(rpc.ModelServiceServicer):
    """`folders` may be changed while it runs; `asked` counts list calls."""

    folders: dict[str, list[str]] = field(default_factory=dict)
    asked: int = 0
    released: int = 0
    port: int = 0

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        self.asked += 1
        if request.folder not in self.folders:
            raise NotFound("no such folder", reason="FOLDER_NOT_FOUND", folder=request.folder)
        files = [file_pb2.FileRef(folder=request.folder, name=name) for name in self.folders[request.folder]]
        return pb.ListModelsResponse(files=[pb.ModelFile(file=file) for file in files])

    async def ReleaseAll(self, request: pb.ReleaseAllRequest, context: Any) -> pb.ReleaseAllResponse:
        self.released += 1
        return pb.ReleaseAllResponse(released=1)


@asynccontextmanager
async def running_listing(folders: dict[str, list[str]], address: str = "127.0.0.1:0") -> AsyncIterator[Listing]:
    listing = Listing(folders)
    services = {
        "heliograph.model.v1.ModelService": lambda server: rpc.add_ModelServiceServicer_to_server(listing, server)
    }
    server = aio_server(address, services, service="listing")
    listing.port = server.port
    await server.start()
    yield listing
    await server.stop(0)
