"""Pictures of earlier runs and of cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.graph.declare import catalogue_of
from orchestrator.graph.prompt import from_json
from orchestrator.graph.validate import Validation, validate
from orchestrator.nodes import picture_source as nodes
from orchestrator.nodes.catalogue import builtin_nodes
from tests.support.recorded_catalogue import FixedLists
from tests.unit.orchestrator.nodes.fakes import context


def test_a_saved_picture_and_its_transparency(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[255, 0, 51, 0], [0, 0, 0, 255]]], np.uint8)).save(tmp_path / "a.png [output]", "PNG")
    picture, mask = nodes.load_image_output(context(tmp_path), "a.png [output]")
    assert picture[0, 0, 0].tolist() == pytest.approx([1.0, 0.0, 0.2]) and mask.tolist() == [[[1.0, 0.0]]]


def test_a_capture_is_the_uploaded_picture(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (0, 51, 0)).save(tmp_path / "shot.png")
    (picture,) = nodes.webcam_capture(context(tmp_path), "shot.png", 640, 480)
    assert picture.shape == (1, 2, 3, 3) and picture[0, 0, 0].tolist() == pytest.approx([0.0, 0.2, 0.0])


@pytest.mark.parametrize("class_type", ["LoadImageOutput", "WebcamCapture"])
def test_the_cache_key_is_the_content(class_type: str, tmp_path: Path) -> None:
    fingerprint = builtin_nodes()[class_type].fingerprint
    assert fingerprint is not None
    (tmp_path / "a.png").write_bytes(b"one")
    first = fingerprint(context(tmp_path), {"image": "a.png"})
    (tmp_path / "a.png").write_bytes(b"two")
    assert fingerprint(context(tmp_path), {"image": "a.png"}) != first


@pytest.mark.parametrize(
    ("class_type", "inputs"),
    [("LoadImageOutput", {}), ("WebcamCapture", {"width": 0, "height": 0, "capture_on_queue": True})],
)
def test_a_prompt_must_name_a_file_that_is_there(class_type: str, inputs: dict[str, object]) -> None:
    def answer(name: str) -> Validation:
        prompt = {
            "1": {"class_type": class_type, "inputs": {"image": name, **inputs}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
        return validate(from_json(prompt), catalogue_of(builtin_nodes()), FixedLists(files=("there.png [output]",)))

    assert answer("there.png [output]").ok
    (problem,) = answer("gone.png").node_errors["1"]["errors"]  # type: ignore[index,call-overload]  # Json
    assert problem["type"] == "custom_validation_failed"  # type: ignore[index,call-overload]  # Json
    assert problem["details"] == "image - Invalid image file: gone.png"  # type: ignore[index,call-overload]  # Json
