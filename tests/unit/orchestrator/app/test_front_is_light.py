"""What the front imports, and what its settings say."""

from __future__ import annotations

import subprocess
import sys

from kit.settings import env_example
from orchestrator.app.front import builtin_catalogue
from orchestrator.app.settings import FrontSettings, WorkerSettings


def test_the_front_loads_nothing_heavy() -> None:
    code = (
        "import sys, orchestrator.app.front; "
        "print([name for name in ('torch', 'numpy', 'onnxruntime', 'PIL', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_worker_asks_for_work_before_torch_is_there() -> None:
    code = "import sys, orchestrator.app.worker; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_catalogue_file_is_there() -> None:
    assert "SaveImage" in builtin_catalogue()


def test_every_setting_is_explained() -> None:
    for cls in (FrontSettings, WorkerSettings):
        assert all(field.description for field in cls.model_fields.values())
    text = env_example([FrontSettings, WorkerSettings])
    assert text.count("HELIOGRAPH_DATA_DIR=data") == 1 and "HELIOGRAPH_LEASE_S=30.0" in text
