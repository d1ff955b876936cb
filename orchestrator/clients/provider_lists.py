"""A provider's list of node types, taken apart and checked: what is wrong is left out, with its reason."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from heliograph.graph.v1 import node_provider_pb2 as pb

from kit.errors import InvalidRequest
from orchestrator.graph.foreign import MAX_NAME, MAX_SLOTS, bad, read_object_info
from orchestrator.graph.spec import CustomCheck, Lane, NodeSpec

MAX_NODES = 5000
MAX_LIST_BYTES = 8 << 20  # shown again in /object_info, where other alphabets take three times as much
_LANES: Mapping[int, Lane] = {pb.SCHEDULE_ACCELERATOR: "accelerator"}


@dataclass(frozen=True)
class ForeignNode:
    """A node class of a provider; `waits`: it runs beside others. The rest is what it can be asked for."""

    spec: NodeSpec
    waits: bool = False
    extra_inputs: bool = False
    lazy: bool = False
    expands: bool = False
    fingerprint: bool = False


@dataclass(frozen=True)
class NodeList:
    """What one provider has; `refused`: why some classes are left out."""

    nodes: Mapping[str, ForeignNode]
    refused: tuple[str, ...]
    probe: str = ""


def read_list(address: str, answer: pb.WatchNodeTypesResponse) -> NodeList:
    """Raises InvalidRequest (NODE_LIST) if the list as a whole is too large."""
    if len(answer.node_types) > MAX_NODES or answer.ByteSize() > MAX_LIST_BYTES:
        raise InvalidRequest(
            "a list of nodes is too large", reason="NODE_LIST", provider=address, nodes=len(answer.node_types),
            max_nodes=MAX_NODES, max_bytes=MAX_LIST_BYTES,
        )  # fmt: skip
    counts = Counter(item.class_type for item in answer.node_types)
    nodes: dict[str, ForeignNode] = {}
    refused: list[str] = []
    for item in answer.node_types:
        try:
            if counts[item.class_type] > 1:
                raise bad(repr(item.class_type)[:80], "it occurs more than once in one list")
            nodes[item.class_type] = _node(address, item)
        except InvalidRequest as error:
            refused.append(str(error))
    return NodeList(nodes, tuple(refused), answer.shared_memory_probe)


def _node(address: str, item: pb.NodeType) -> ForeignNode:
    spec = read_object_info(item.class_type, item.object_info_json)
    if len(item.version) > MAX_NAME:
        raise bad(item.class_type, f"a version has more than {MAX_NAME} characters")
    inputs, outputs = {entry.name for entry in spec.inputs}, len(spec.outputs)
    if not inputs.issuperset(item.any_type_inputs) or any(not 0 <= slot < outputs for slot in item.any_type_outputs):
        raise bad(item.class_type, "any_type names an input or output that is not there")
    if len(item.validation.inputs) > MAX_SLOTS:
        raise bad(item.class_type, "validation names too many inputs")
    free = set(item.any_type_inputs)
    spec = replace(
        spec,
        inputs=tuple(replace(entry, any_type=entry.name in free) for entry in spec.inputs),
        outputs=tuple(replace(slot, any_type=i in item.any_type_outputs) for i, slot in enumerate(spec.outputs)),
        input_is_list=item.input_is_list,
        lane=_LANES.get(item.schedule, "cpu"),
        version=_version(address, item),
        idempotent=not item.not_idempotent,
        fingerprinted=item.fingerprint,
        custom=_custom(item),
    )
    return ForeignNode(
        spec, item.schedule == pb.SCHEDULE_ASYNC, item.extra_inputs, item.lazy, item.expands, item.fingerprint
    )


def _custom(item: pb.NodeType) -> CustomCheck | None:
    if not item.HasField("validation"):
        return None
    return CustomCheck(frozenset(item.validation.inputs), item.validation.all_inputs, item.validation.input_types)


def _version(address: str, item: pb.NodeType) -> int:
    """Of whose node it is, how it is declared and its own version: another of these is another cache key.

    Lists of choices are left out: they say what may be chosen, a new file among them changes no result.
    """
    digest = hashlib.blake2b(digest_size=8)
    rest = pb.NodeType()
    rest.CopyFrom(item)
    rest.object_info_json = _without_choices(item.object_info_json)
    for part in (address.encode(), rest.SerializeToString(deterministic=True)):
        digest.update(len(part).to_bytes(8, "big") + part)
    return int.from_bytes(digest.digest(), "big") >> 1


def _without_choices(object_info: bytes) -> bytes:
    info = json.loads(object_info)
    sections = info.get("input")
    for section in sections.values() if isinstance(sections, dict) else ():
        for entry in section.values() if isinstance(section, dict) else ():
            if isinstance(entry, list) and entry and isinstance(entry[0], list):
                entry[0] = "COMBO"
            if isinstance(entry, list) and len(entry) > 1 and isinstance(entry[1], dict):
                entry[1].pop("options", None)
    return json.dumps(info).encode()
