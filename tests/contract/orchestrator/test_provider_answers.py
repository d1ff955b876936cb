"""Providers that answer wrongly, in lists and in calls: refused, told, and nothing else is harmed."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from heliograph.graph.v1 import node_provider_pb2 as pb
from heliograph.graph.v1 import node_value_pb2 as values

from kit.errors import Unready
from kit.settings import SettingsError
from node_host.nodes import describe
from orchestrator.app.settings import FrontSettings, WorkerSettings
from tests.support.fake_provider import INFO, fake_provider, node_type
from tests.support.providers import place
from tests.support.stack import free_ports

SHOW = node_type("FShow", describe({"required": {"value": ["*"]}}, (), category="fake", output_node=True))
SHOWN = [pb.ExecuteResponse(result=pb.NodeResult())]


async def until(true: Any) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def test_what_is_wrong_in_a_list_is_left_out_and_the_rest_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    types = [
        node_type("Good"), node_type("Twice"), node_type("Twice"), node_type("NoJson", b"{"), node_type("NoObject", []),
        node_type(""), node_type("line\nbreak"), node_type("x" * 300),
        node_type("Long", {**INFO, "description": "x" * (2 << 20)}), node_type("Deep", b"[" * 100_000),
        node_type("Slots", any_type_outputs=[7]), node_type("Name", any_type_inputs=["no"]),
        node_type("Version", version="v" * 300), node_type("EmptyImage"), node_type("Also good"),
        *(node_type(f"Bad {number}", b"") for number in range(50)),
    ]  # fmt: skip
    with caplog.at_level(logging.WARNING):
        async with fake_provider(*types) as fake, place(tmp_path, fake.address) as here:
            await here.knows("Good")
            foreign = [spec.id for spec in here.front.front.nodes.catalogue().values() if spec.category == "fake"]
            assert foreign == ["Good", "Also good"]
    assert (
        "it occurs more than once" in caplog.text and "EmptyImage" in caplog.text and "more are refused" in caplog.text
    )
    assert len(caplog.records) < 60


async def test_a_huge_list_is_refused_and_the_last_one_stays(tmp_path: Path) -> None:
    async with fake_provider(node_type("Good")) as fake, place(tmp_path, fake.address) as here:
        await here.knows("Good")
        fake.say(*(node_type(f"N{number}") for number in range(6000)))
        await until(lambda: not here.front.front.nodes._links[0].here)
        assert "Good" in here.front.front.nodes.catalogue() and "N1" not in here.front.front.nodes.catalogue()
        fake.say(node_type("Better"))
        await here.knows("Better")
        assert "Good" not in here.front.front.nodes.catalogue()


async def test_of_two_providers_the_first_in_the_settings_has_the_class(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    first = f"127.0.0.1:{port}"
    types = (node_type("Both", {**INFO, "category": "second"}), node_type("Second"))
    async with fake_provider(*types) as second, place(tmp_path, f"{first}, {second.address}") as here:
        catalogue = here.front.front.nodes.catalogue
        await here.knows("Second")
        assert catalogue()["Both"].category == "second"
        async with fake_provider(node_type("Both", {**INFO, "category": "first"}), address=first):
            await until(lambda: catalogue()["Both"].category == "first")
        assert catalogue()["Both"].category == "first"  # also while it is away


async def test_another_version_is_another_result(tmp_path: Path) -> None:
    answers = {
        "Number": [pb.ExecuteResponse(result=pb.NodeResult(outputs=[values.Value(int_value=1)]))],
        "FShow": SHOWN,
    }
    prompt = {"1": {"class_type": "Number", "inputs": {}}, "2": {"class_type": "FShow", "inputs": {"value": ["1", 0]}}}
    async with fake_provider(node_type("Number"), SHOW, answers=answers) as fake, place(tmp_path, fake.address) as here:
        await here.knows("Number")
        assert (await here.run(prompt)).executed == ["1", "2"]
        assert (await here.run(prompt)).executed == []
        fake.say(node_type("Number", version="2"), SHOW)
        await until(lambda: here.executor.nodes._changed)
        assert (await here.run(prompt)).executed == ["1", "2"]


IMAGE = describe({}, (("IMAGE", "IMAGE"),), category="fake")
LATENT = describe({}, (("LATENT", "LATENT"),), category="fake")
SQUARE = values.Tensor(datatype="FP32", shape=[2, 2], raw=bytes(16))


def result(*outputs: values.Value, ui: bytes = b"") -> list[pb.ExecuteResponse]:
    return [pb.ExecuteResponse(result=pb.NodeResult(outputs=outputs, ui_json=ui))]


ONE = values.Value(int_value=1)
WRONG: dict[str, tuple[Any, list[pb.ExecuteResponse], str]] = {
    "no outcome": (INFO, [], "PROVIDER_ANSWER"),
    "only progress": (INFO, [pb.ExecuteResponse(progress=pb.ExecutionProgress(value=1))], "PROVIDER_ANSWER"),
    "empty parts": (INFO, [pb.ExecuteResponse()], "PROVIDER_ANSWER"),
    "too few outputs": (INFO, result(), "NODE_VALUE"),
    "too many outputs": (INFO, result(ONE, ONE), "NODE_VALUE"),
    "a flat image": (IMAGE, result(values.Value(tensor=SQUARE)), "NODE_VALUE"),
    "text for an image": (IMAGE, result(values.Value(string_value="x")), "NODE_VALUE"),
    "a latent without samples": (LATENT, result(values.Value(map=values.ValueMap())), "NODE_VALUE"),
    "a model from nowhere": (INFO, result(values.Value(host_object=values.HostObject(id="x"))), "NODE_VALUE"),
    "an input from nowhere": (INFO, result(values.Value(same_as=values.InputReference(input="x"))), "NODE_VALUE"),
    "a file from nowhere": (INFO, result(values.Value(file=values.FileReference(type="/etc"))), "NODE_VALUE"),
    "a tensor cut short": (
        IMAGE, result(values.Value(tensor=values.Tensor(datatype="FP32", shape=[9], raw=b"1"))), "TENSOR_SIZE",
    ),
    "another's memory": (
        IMAGE,
        result(values.Value(tensor=values.Tensor(
            datatype="FP32", shape=[1], shared=values.SharedRegion(key="/../etc/passwd", size_bytes=4)))),
        "SHARED_REGION",
    ),
    "a chunk that is not due": (
        IMAGE, [pb.ExecuteResponse(chunk=values.TensorChunk(number=7, contents=b"x"))], "TENSOR_CHUNK",
    ),
    "what it shows is a list": (INFO, result(ONE, ui=b"[1]"), "NODE_UI"),
    "what it shows is no JSON": (INFO, result(ONE, ui=b"{"), "NODE_UI"),
    "a graph unannounced": (INFO, [pb.ExecuteResponse(expansion=pb.Expansion(outputs=[ONE]))], "NODE_RESULT"),
    "an object that is lost": (INFO, [pb.ExecuteResponse(error=pb.NodeError(handle_lost=True))], "HANDLE_LOST"),
}  # fmt: skip


async def test_wrong_answers_fail_the_node_with_a_typed_error(tmp_path: Path) -> None:
    answers: dict[str, Any] = {name: answer for name, (_, answer, _) in WRONG.items()} | {"FShow": SHOWN}
    types = [node_type(name, info) for name, (info, _, _) in WRONG.items()]
    async with fake_provider(*types, SHOW, answers=answers) as fake, place(tmp_path, fake.address) as here:
        await here.knows("no outcome")
        found = {}
        for name in WRONG:
            prompt = {
                "1": {"class_type": name, "inputs": {}},
                "2": {"class_type": "FShow", "inputs": {"value": ["1", 0]}},
            }
            failure = (await here.run(prompt)).failure
            assert failure.node_id == "1"
            found[name] = failure.reason
    assert found == {name: reason for name, (_, _, reason) in WRONG.items()}


async def test_wrong_graphs_fail_the_node(tmp_path: Path) -> None:
    def graph(*nodes: pb.ExpandedNode, link: str = "n") -> list[pb.ExecuteResponse]:
        outputs = [values.Value(link=values.Link(node_id=link, slot=0))]
        return [pb.ExecuteResponse(expansion=pb.Expansion(nodes=nodes, outputs=outputs))]

    child = pb.ExpandedNode(id="n", class_type="EmptyImage")
    loop = {"image": values.Value(link=values.Link(node_id="n", slot=0))}
    answers: dict[str, Any] = {
        "twice": graph(child, child), "unknown": graph(pb.ExpandedNode(id="n", class_type="Nobody")),
        "stranger": graph(child, link="else"),
        "circle": graph(pb.ExpandedNode(id="n", class_type="ImageInvert", inputs=loop)),
        "taken": graph(pb.ExpandedNode(id="2", class_type="EmptyImage"), link="2"),
        "many": graph(*(pb.ExpandedNode(id=str(i), class_type="EmptyImage") for i in range(6000))),
    }  # fmt: skip
    types = [node_type(name, IMAGE, expands=True) for name in answers]
    async with (
        fake_provider(*types, SHOW, answers={**answers, "FShow": SHOWN}) as fake,
        place(tmp_path, fake.address) as here,
    ):
        await here.knows("many")
        found = {}
        for name in answers:
            prompt = {
                "1": {"class_type": name, "inputs": {}},
                "2": {"class_type": "FShow", "inputs": {"value": ["1", 0]}},
            }
            found[name] = (await here.run(prompt)).failure.reason
    assert found == {
        "twice": "EXPANSION_TOO_LARGE", "unknown": "NODE_UNKNOWN", "stranger": "EXPANSION_LINKS",
        "circle": "EXPANSION_CYCLE", "taken": "EXPANSION_IDS", "many": "EXPANSION_TOO_LARGE",
    }  # fmt: skip


async def test_a_latent_goes_as_a_map_and_comes_back_by_reference(tmp_path: Path) -> None:
    info = describe({"required": {"value": ["LATENT"]}}, (("LATENT", "LATENT"),), category="fake")
    same = result(values.Value(same_as=values.InputReference(input="value")))
    answers = {"Same": same, "FShow": SHOWN}
    prompt = {
        "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "2": {"class_type": "Same", "inputs": {"value": ["1", 0]}},
        "3": {"class_type": "FShow", "inputs": {"value": ["2", 0]}},
    }
    types = (node_type("Same", info), SHOW)
    async with fake_provider(*types, answers=answers) as fake, place(tmp_path, fake.address) as here:
        await here.knows("Same")
        assert (await here.run(prompt)).succeeded
        call = fake.calls[-1]
        assert list(call.inputs["value"].map.entries) == ["samples"]
        assert (call.node_id, call.class_type, call.id_prefix) == ("3", "FShow", "3.0.")


async def test_an_unknown_class_with_a_provider_that_never_came_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("orchestrator.clients.provider_nodes._PATIENCE_S", 0.2)
    (port,) = free_ports(1)
    async with place(tmp_path, f"127.0.0.1:{port}") as here:
        with pytest.raises(Unready, match="is away"):
            await here.executor.nodes.settle(["Nobody"])
        await here.executor.nodes.settle(["EmptyImage"])


@pytest.mark.parametrize("text", ["nothing", "a:b", "host:123456", "a:1,a:1", "a b:1", "http://a:1"])
def test_wrong_addresses_stop_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="HELIOGRAPH_NODE_PROVIDERS"):
        FrontSettings.load(node_providers=text)


def test_addresses_in_order() -> None:
    assert WorkerSettings.load(node_providers=" b:1, a:2 ,").provider_addresses == ("b:1", "a:2")
    assert json.dumps(FrontSettings.load().provider_addresses) == "[]"
