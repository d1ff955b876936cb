"""`heliograph nodes check`: what packs have and what cannot be had, in our environment and in one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.pack_host import PACKS
from tests.support.providers import ROOT

pytestmark = pytest.mark.timeout(120)


def check(folder: Path, path: Path) -> tuple[int, str]:
    environment = {**os.environ, "HELIOGRAPH_DATA_DIR": str(folder), "HELIOGRAPH_MODELS_DIR": str(folder / "models")}
    (folder / "input").mkdir(exist_ok=True)
    (folder / "models" / "loras").mkdir(parents=True, exist_ok=True)
    command = (sys.executable, "-m", "cli.main", "nodes", "check", str(path))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    return done.returncode, done.stdout + done.stderr


def test_what_cannot_be_had_is_named(tmp_path: Path) -> None:
    status, text = check(tmp_path, PACKS)
    assert status == 1 and "ok    tour: 27 node(s), files for browsers" in text and "ok    modern: 2 node(s)" in text
    assert "out   reaches: comfy.sd.VAE is a part of ComfyUI" in text
    assert "out   broken: the module a_module_that_nobody_has is not installed" in text
    assert "out   single: SingleNone: " in text


def test_a_pack_with_an_environment_of_its_own_runs_in_it(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    venv.EnvBuilder(with_pip=False, symlinks=True).create(pack / ".venv")
    (site,) = (pack / ".venv" / "lib").glob("python*/site-packages")
    (site / "only_here.py").write_text("KIND = 'STRING'\n")
    (pack / "__init__.py").write_text(
        "import sys, only_here, torch\n"
        "assert sys.prefix.endswith('.venv') and 'pack' in sys.prefix, sys.prefix\n"
        "class Mine:\n    RETURN_TYPES = (only_here.KIND,)\n    FUNCTION = 'run'\n"
        "    @classmethod\n    def INPUT_TYPES(cls):\n        return {'required': {}}\n"
        "    def run(self):\n        return ('x',)\n"
        "NODE_CLASS_MAPPINGS = {'Mine': Mine}\n"
    )
    status, text = check(tmp_path, pack)
    assert (status, text.strip().splitlines()[-1]) == (0, "ok    pack: 1 node(s)"), text
