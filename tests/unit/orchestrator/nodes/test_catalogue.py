"""The catalogue file is up to date, importing nodes is light, and every node looks as recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.graph.catalogue import load
from orchestrator.graph.object_info import object_info
from orchestrator.graph.unserved import unserved
from orchestrator.nodes import catalogue
from tests.golden.object_info.refresh import UNRECORDED
from tests.support import reference


class NoFiles:
    def model_files(self, folder: str) -> tuple[str, ...]:
        return ()

    def input_files(self, content: str) -> tuple[str, ...]:
        return ()

    def input_exists(self, annotated_name: str) -> bool:
        return False


def test_the_committed_file_is_what_the_declarations_say() -> None:
    assert catalogue.main(["--check"]) == 0
    assert set(load(catalogue.FILE.read_text("utf-8"))) == set(catalogue.builtin_nodes())


def test_a_stale_file_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalogue, "FILE", tmp_path / "nodes.json")
    assert catalogue.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert catalogue.main([]) == 0
    assert catalogue.main(["--check"]) == 0


def test_importing_all_nodes_loads_no_torch() -> None:
    script = "import sys, orchestrator.nodes.catalogue; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def recorded() -> dict[str, dict[str, object]]:
    path = reference.folder() / "object_info.json"
    if not path.is_file():
        pytest.skip("the recorded object_info.json is not at hand")
    content: dict[str, dict[str, object]] = json.loads(path.read_text("utf-8"))
    return content


def test_every_recorded_node_is_served_or_has_a_reason() -> None:
    ours, others = set(catalogue.builtin_nodes()) - UNRECORDED, set(unserved())
    assert ours | others == set(recorded())
    assert ours & others == {
        "ControlNetLoader", "StyleModelLoader", "GLIGENLoader", "UpscaleModelLoader", "ImageOnlyCheckpointLoader",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(catalogue.builtin_nodes()) - UNRECORDED))
def test_object_info_equals_the_recording_key_order_included(name: str) -> None:
    info = object_info(catalogue.builtin_nodes()[name].spec, NoFiles())
    assert info.pop("description")
    assert json.dumps(info) == json.dumps(recorded()[name])
