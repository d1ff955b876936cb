"""Messages of heliograph.model.v1 <-> our own types."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from heliograph.common.v1 import file_pb2
from heliograph.model.v1 import model_service_pb2 as pb

from kit.errors import Unsupported
from kit.tensors import raw_bytes, stored_name
from model_service.archs.spec import Component, Fact, TensorSpec
from model_service.catalogue.folders import Folder
from model_service.servables.calls import Array
from model_service.servables.describe import Described, Listed
from model_service.servables.residency import Resident
from model_service.servables.spec import EXACT, FileRef, LoraPatch, Prepared, ServableSpec, Stage


def decode_spec(message: pb.ServableSpec) -> ServableSpec:
    """Raises InvalidRequest, Unsupported (PATCH_KIND)."""
    patches = tuple(_decode_patch(patch) for patch in message.patches)
    return ServableSpec(message.component, _decode_file(message.file), patches, message.precision or EXACT)


def _decode_patch(message: pb.Patch) -> LoraPatch:
    if message.WhichOneof("kind") != "lora":
        raise Unsupported("this kind of patch is not known", reason="PATCH_KIND")
    return LoraPatch(_decode_file(message.lora.file), message.lora.strength)


def _decode_file(message: file_pb2.FileRef) -> FileRef:
    return FileRef(message.folder, message.name, message.digest)


def encode_folder(folder: Folder) -> pb.Folder:
    """A kind with its search paths."""
    paths = [str(path) for path in folder.directories]
    return pb.Folder(name=folder.name, paths=paths, extensions=sorted(folder.endings))


def encode_listed(file: Listed, digest: str = "") -> pb.ModelFile:
    """A file with size and times."""
    return pb.ModelFile(
        file=file_pb2.FileRef(folder=file.folder, name=file.name, digest=digest),
        size_bytes=file.size_bytes,
        modified_s=file.modified_s,
        created_s=file.created_s,
        path_index=file.path_index,
    )


def encode_described(described: Described) -> pb.DescribeModelResponse:
    """What a file is."""
    return pb.DescribeModelResponse(
        file=encode_listed(described.listed, described.digest),
        components=[_encode_component(component) for component in described.components],
        kind=described.kind,
        family=described.family,
        precision=described.precision,
        metadata=described.metadata,
    )


def _encode_component(component: Component) -> pb.Component:
    return pb.Component(component=component.kind, arch=component.arch.id, facts_json=_encode_facts(component.facts))


def _encode_facts(facts: Mapping[str, Fact]) -> str:
    return json.dumps(dict(facts), sort_keys=True)


def encode_stage(stage: Stage) -> pb.PrepareResponse:
    """A stage; the last one has the servable."""
    message = pb.PrepareResponse(stage=stage.name, fraction=stage.fraction)
    if stage.prepared is not None:
        message.servable.CopyFrom(_encode_servable(stage.prepared))
    return message


def _encode_servable(prepared: Prepared) -> pb.Servable:
    return pb.Servable(
        id=prepared.id,
        endpoint=prepared.endpoint,
        shared_memory=prepared.shared_memory,
        arch=prepared.arch,
        facts_json=_encode_facts(prepared.facts),
        inputs=[_encode_spec(spec) for spec in prepared.signature.inputs],
        outputs=[_encode_spec(spec) for spec in prepared.signature.outputs],
        unmatched_keys=prepared.unmatched,
    )


def _encode_spec(spec: TensorSpec) -> pb.TensorSpec:
    shape = [-1 if isinstance(side, str) else side for side in spec.shape]
    return pb.TensorSpec(name=spec.name, datatype=spec.dtype, shape=shape)


def encode_tensor(name: str, array: Array) -> pb.Tensor:
    """A small tensor by value."""
    return pb.Tensor(name=name, dtype=stored_name(array.dtype), shape=array.shape, data=raw_bytes(array))


def encode_residency(budget_bytes: int, used_bytes: int, residents: Sequence[Resident]) -> pb.GetResidencyResponse:
    """What is in memory, least recently used first."""
    return pb.GetResidencyResponse(
        budget_bytes=budget_bytes,
        used_bytes=used_bytes,
        residents=[
            pb.Resident(id=one.id, arch=one.arch, name=one.name, bytes=one.bytes, active=one.active)
            for one in residents
            if one.bytes
        ],
    )
