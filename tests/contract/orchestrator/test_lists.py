"""Validation against lists that change: a model service that answers, has other files, is away."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from heliograph.graph.v1 import run_service_pb2 as pb

from kit.errors import HeliographError, InvalidPrompt, Unready
from kit.status import from_rpc_error
from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import InputFile, OneOf
from orchestrator.graph.spec import Input, NodeSpec
from tests.support.fronts import running_front
from tests.support.listing import running_listing

CATALOGUE = Catalogue.of(
    [
        NodeSpec("Load", "test", (Input("name", OneOf.catalogue("checkpoints")),), output_node=True),
        NodeSpec("Odd", "test", (Input("name", OneOf.catalogue("no_folder", extra=("always",))),), output_node=True),
        NodeSpec("Picture", "test", (Input("image", InputFile("image", upload="image_upload")),), output_node=True),
    ]
)


def load(name: str, kind: str = "Load", field: str = "name") -> bytes:
    return json.dumps({"1": {"class_type": kind, "inputs": {field: name}}}).encode()


async def failure(call: Any) -> HeliographError:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def problem(error: HeliographError) -> dict[str, Any]:
    assert isinstance(error, InvalidPrompt) and error.body is not None
    found: dict[str, Any] = error.body["node_errors"]["1"]["errors"][0]  # type: ignore[index]
    return found


async def test_files_are_checked_and_a_new_one_is_seen_at_once(tmp_path: Path) -> None:
    async with running_listing({"checkpoints": ["a.safetensors"]}) as listing:
        address = f"127.0.0.1:{listing.port}"
        async with running_front(tmp_path, CATALOGUE, model_address=address) as front:
            await front.submit(load("a.safetensors"))
            asked = listing.asked
            await front.submit(load("a.safetensors"))
            assert listing.asked == asked  # remembered
            refused = problem(await failure(front.submit(load("b.safetensors"))))
            assert (refused["type"], refused["details"]) == (
                "value_not_in_list", "name: 'b.safetensors' not in ['a.safetensors']",
            )  # fmt: skip
            listing.folders["checkpoints"].append("b.safetensors")
            await front.submit(load("b.safetensors"))
            await front.submit(load("always", "Odd"))
            assert problem(await failure(front.submit(load("x", "Odd"))))["type"] == "value_not_in_list"


async def test_without_the_model_service_only_prompts_that_need_it_wait(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "p.png").touch()
    async with running_front(tmp_path, CATALOGUE) as front:
        error = await failure(front.submit(load("a.safetensors")))
        assert isinstance(error, Unready) and error.reason == "BACKEND_DOWN"
        assert isinstance(await failure(front.runs.ListNodeTypes(pb.ListNodeTypesRequest())), Unready)
        await front.submit(load("p.png", "Picture", "image"))
        await front.runs.ListNodeTypes(pb.ListNodeTypesRequest(node_type="Picture"))
        assert len((await front.runs.ListQueue(pb.ListQueueRequest())).pending) == 1


async def test_the_model_service_may_come_later_and_go(tmp_path: Path) -> None:
    async with running_listing({}) as probe:
        address = f"127.0.0.1:{probe.port}"
    async with running_front(tmp_path, CATALOGUE, model_address=address) as front:
        assert isinstance(await failure(front.submit(load("a.safetensors"))), Unready)
        async with running_listing({"checkpoints": ["a.safetensors"]}, address) as listing:
            while True:
                try:
                    await front.submit(load("a.safetensors"))
                    break
                except grpc.RpcError as error:
                    assert isinstance(from_rpc_error(error), Unready)
                    await asyncio.sleep(0.02)
            await front.runs.FreeMemory(pb.FreeMemoryRequest(unload_models=True))
            assert listing.released == 1


async def test_input_files_inside_their_area_are_accepted_others_are_not(tmp_path: Path) -> None:
    async with running_front(tmp_path, CATALOGUE) as front:
        (tmp_path / "input" / "sub").mkdir()
        for name in ("input/b.png", "input/a.webp", "input/note.txt", "input/sub/c.png", "output/d.png", "secret.png"):
            (tmp_path / name).touch()
        for name in ("b.png", "sub/c.png", "d.png [output]"):
            await front.submit(load(name, "Picture", "image"))
        for name in ("none.png", "../secret.png", "/etc/passwd", "sub"):
            refused = problem(await failure(front.submit(load(name, "Picture", "image"))))
            assert (refused["type"], refused["details"]) == (
                "custom_validation_failed", f"image - Invalid image file: {name}",
            )  # fmt: skip
        answer = await front.runs.ListNodeTypes(pb.ListNodeTypesRequest(node_type="Picture"))
        info = json.loads(answer.object_info_json)["Picture"]
        assert info["input"]["required"]["image"] == [["a.webp", "b.png"], {"image_upload": True}]
