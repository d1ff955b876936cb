from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cli.run import Changes, apply_changes, changed_prompt, read_workflow, run_workflow
from kit.errors import InvalidRequest, Unready

PROMPT = {"3": {"class_type": "KSampler", "inputs": {"seed": 1, "cfg": 5.0, "text": "a"}}}


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [("3.seed=7", "seed", 7), ("3.cfg=2.5", "cfg", 2.5), ("3.text=12", "text", "12"), ("3.new=x=y", "new", "x=y")],
)
def test_set_keeps_the_kind_of_the_value(change: str, key: str, value: object) -> None:
    assert apply_changes(PROMPT, [change])["3"]["inputs"][key] == value
    assert "new" not in PROMPT["3"]["inputs"]


@pytest.mark.parametrize("change", ["3.seed", "seed=7", "9.seed=7", "="])
def test_a_wrong_set_is_refused(change: str) -> None:
    with pytest.raises(InvalidRequest):
        apply_changes(PROMPT, [change])


def test_a_picture_carries_its_prompt(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("prompt", json.dumps(PROMPT))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    assert read_workflow(tmp_path / "a.png") == PROMPT


@pytest.mark.parametrize("content", ["[1]", "{", ""])
def test_what_is_no_prompt_says_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InvalidRequest):
        read_workflow(tmp_path / "a.json")


def test_where_nothing_answers_the_error_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(PROMPT))
    with pytest.raises(Unready, match="heliograph up"):
        run_workflow(tmp_path / "a.json", Changes(), tmp_path, server="127.0.0.1:9", timeout_s=5)


def test_set_wins_over_the_prompt_text() -> None:
    graph = {
        "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a"}},
        "2": {"class_type": "KSampler", "inputs": {"positive": ["1", 0], "seed": 1}},
    }
    changed = changed_prompt(graph, Changes(["1.text=set", "2.seed=4"], positive="given"))
    assert changed["1"]["inputs"]["text"] == "set" and changed["2"]["inputs"]["seed"] == 4
