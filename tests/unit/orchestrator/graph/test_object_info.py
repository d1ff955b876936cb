"""Golden: our object_info equals the recording, key for key and in the same order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.graph.catalogue import BadCatalogue, Catalogue, dump, load
from orchestrator.graph.kinds import InputFile, Int, Link, OneOf
from orchestrator.graph.markdown import markdown
from orchestrator.graph.object_info import all_object_info, object_info
from orchestrator.graph.spec import Input, NodeSpec, Output
from tests.golden.object_info.refresh import UNRECORDED
from tests.support import reference
from tests.support.recorded_catalogue import FixedLists, recorded, recorded_catalogue, spec_of

BUILTIN = Path(__file__).resolve().parents[4] / "orchestrator" / "graph" / "builtin_nodes.json"


def ours(info: dict[str, Any]) -> str:
    """As text (key order and 1 against 1.0 count), without texts, which the recording does not have."""

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: stripped(item) for key, item in value.items() if key not in ("tooltip", "description")}
        return [stripped(item) for item in value] if isinstance(value, list) else value

    return json.dumps(stripped(info))


RECORDED = [spec for spec in load(BUILTIN.read_bytes()).values() if spec.id not in UNRECORDED]


@pytest.mark.parametrize("spec", RECORDED, ids=lambda spec: spec.id)
def test_builtin_node_equals_recording(spec: NodeSpec) -> None:
    assert ours(object_info(spec, FixedLists())) == json.dumps(recorded()[spec.id])


@pytest.mark.parametrize("class_type", recorded())
def test_a_spec_can_say_what_was_recorded(class_type: str) -> None:
    assert ours(object_info(spec_of(recorded()[class_type]), FixedLists())) == json.dumps(recorded()[class_type])


def test_every_recorded_class_round_trips_through_the_catalogue_file() -> None:
    path = reference.folder() / "object_info.json"
    if not path.exists():
        pytest.skip("the wide recording is not at hand; the committed part is tested above")
    whole = json.loads(path.read_text())
    catalogue = Catalogue.of(spec_of(info) for info in whole.values())
    again = load(dump(catalogue))
    assert again == catalogue
    shown = all_object_info(again, FixedLists())
    differing = [name for name in whole if ours(shown[name]) != json.dumps(whole[name])]
    assert differing == []


def test_lists_fill_combos() -> None:
    spec = NodeSpec("X", "c", (Input("f", OneOf.catalogue("vae", extra=("pixel_space",))),))
    info = object_info(spec, FixedLists({"vae": ("a.safetensors",)}))
    assert info["input"] == {"required": {"f": [["a.safetensors", "pixel_space"]]}}


def test_tooltip_makes_an_options_object() -> None:
    spec = NodeSpec("X", "c", (Input("i", Link("IMAGE", tooltip="what to show")),))
    assert object_info(spec, FixedLists())["input"] == {"required": {"i": ["IMAGE", {"tooltip": "what to show"}]}}


def test_catalogue_refuses_duplicates_and_foreign_files() -> None:
    spec = NodeSpec("X", "c")
    with pytest.raises(BadCatalogue, match="twice"):
        Catalogue.of([spec, spec])
    for text in ("[]", "{", '{"format": 2, "nodes": []}', '{"format": 1, "nodes": [{"id": 1, "x": 2}]}'):
        with pytest.raises(BadCatalogue):
            load(text)


def test_a_file_input_may_show_two_kinds_of_files() -> None:
    class ByContent(FixedLists):
        def input_files(self, content: str) -> tuple[str, ...]:
            return {"audio": ("b.wav", "d.mp3"), "video": ("a.mp4", "c.mkv")}[content]

    both = NodeSpec("X", "c", (Input("f", InputFile("audio", also="video", upload="audio_upload")),))
    info = object_info(both, ByContent())
    assert info["input"] == {"required": {"f": [["a.mp4", "b.wav", "c.mkv", "d.mp3"], {"audio_upload": True}]}}


def test_markdown_names_limits_and_outputs() -> None:
    inputs = (Input("steps", Int(default=20, min=1, max=9)), Input("how", OneOf(("a|b", "c")), required=False))
    page = markdown(NodeSpec("X", "cat", inputs, (Output("LATENT", "out", True),), description="Does it."))
    assert "| steps | INT | yes | default 20; min 1; max 9 |" in page
    assert "| how | COMBO | no | `a\\|b`, `c` |" in page
    assert "| out | LATENT (list) |" in page
    assert "Does it." in page


def test_markdown_of_every_class_has_a_row_for_each_input() -> None:
    for spec in recorded_catalogue().values():
        page = markdown(spec)
        assert all(f"| {item.name} |" in page for item in spec.inputs)
