"""heliograph.model.v1.ModelService: decode, call, encode."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from heliograph.model.v1 import model_service_pb2 as pb
from heliograph.model.v1 import model_service_pb2_grpc as pb_grpc

from kit.errors import NotFound
from kit.serve import Register
from model_service.catalogue.catalogue import Catalogue
from model_service.catalogue.folders import Folders
from model_service.servables.describe import describe, list_folder
from model_service.servables.prepare import Preparation
from model_service.servables.residency import Occupies, Residency
from model_service.transport import messages
from model_service.weights.reader import read_all_small

SERVICE = "heliograph.model.v1.ModelService"


class ModelServicer(pb_grpc.ModelServiceServicer):
    """Model files, and servables made of them."""

    def __init__(
        self, folders: Folders, catalogue: Catalogue, preparation: Preparation, residency: Residency[Occupies]
    ) -> None:
        self._folders = folders
        self._catalogue = catalogue
        self._preparation = preparation
        self._residency = residency

    def ListFolders(self, request: pb.ListFoldersRequest, context: Any) -> pb.ListFoldersResponse:
        folders = self._folders.by_name.values()
        return pb.ListFoldersResponse(folders=[messages.encode_folder(folder) for folder in folders])

    def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        files = list_folder(self._catalogue, request.folder)
        return pb.ListModelsResponse(files=[messages.encode_listed(file) for file in files])

    def DescribeModel(self, request: pb.DescribeModelRequest, context: Any) -> pb.DescribeModelResponse:
        file = request.file
        return messages.encode_described(describe(self._catalogue, file.folder, file.name, not request.skip_digest))

    def Prepare(self, request: pb.PrepareRequest, context: Any) -> Iterator[pb.PrepareResponse]:
        spec = messages.decode_spec(request.spec)
        for stage in self._preparation.prepare(spec, context.is_active):
            yield messages.encode_stage(stage)

    def ReadTensors(self, request: pb.ReadTensorsRequest, context: Any) -> pb.ReadTensorsResponse:
        file = request.file
        if file.digest and self._catalogue.digest(file.folder, file.name) != file.digest:
            raise NotFound("the file has changed since it was looked up", reason="WEIGHTS_CHANGED", name=file.name)
        header = self._catalogue.header(file.folder, file.name)
        tensors = read_all_small(header, list(request.names) or None)
        return pb.ReadTensorsResponse(tensors=[messages.encode_tensor(name, array) for name, array in tensors.items()])

    def GetResidency(self, request: pb.GetResidencyRequest, context: Any) -> pb.GetResidencyResponse:
        residency = self._residency
        return messages.encode_residency(residency.budget_bytes, residency.used_bytes, residency.all())

    def ReleaseAll(self, request: pb.ReleaseAllRequest, context: Any) -> pb.ReleaseAllResponse:
        return pb.ReleaseAllResponse(released=self._residency.release_idle())


def register(servicer: ModelServicer) -> Register:
    """How a server gets it (kit.serve)."""
    return partial(pb_grpc.add_ModelServiceServicer_to_server, servicer)
