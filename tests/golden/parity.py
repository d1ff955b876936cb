"""`make parity`: every reference case that our nodes reach, the long ones too, against a service started for it.

Needs the wide reference set beside the repository (../shared/reference) or where HELIOGRAPH_REFERENCE says.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import reference
from tests.support.stack import REPO, running_stack


def main() -> int:
    """Prints check_cases.py's lines and returns its status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serving", default="embedded", choices=("embedded", "triton"))
    parser.add_argument("--only", default="*", help="glob on case names")
    options = parser.parse_args()
    source = reference.folder()
    cases = {
        name: models
        for name, models in reference.reached_cases(source, reference.node_types(), long=True)
        if Path(name).match(options.only)
    }
    print(f"{len(cases)} cases of {source}", flush=True)
    target = Path(os.environ.get("HELIOGRAPH_TEST_WEIGHTS", REPO / "build" / "weights"))
    models = reference.write_weights(source, frozenset().union(*cases.values()), target)
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "set" / "cases"
        chosen.mkdir(parents=True)
        (chosen.parent / "inputs").symlink_to(source / "inputs")
        for name in cases:
            (chosen / name).symlink_to(source / "cases" / name)
        with running_stack(models, Path(folder), serving=options.serving) as stack:
            command = (sys.executable, str(source / "check_cases.py"), "--server", stack.rest, "--cases", str(chosen))
            return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
