"""First thing that a pack's process executes, by path and with any interpreter: makes our code importable.

python boot.py serve|check FOLDERS ... : FOLDERS (os.pathsep between) go to the *end* of the path, so that what the
interpreter's own environment has comes first and we lend what it lacks.
"""

import os
import sys


def _main() -> None:
    action, folders, *arguments = sys.argv[1:]
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  # nothing but these two is imported yet
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != here]  # noqa: PTH100
    sys.path.extend(folder for folder in folders.split(os.pathsep) if folder not in sys.path)
    sys.argv[:] = [sys.argv[0]]  # packs that read it find nothing of ours
    try:
        from node_host.packs import host
    except ImportError as error:
        sys.exit(
            f"heliograph: {sys.executable} (Python {sys.version_info[0]}.{sys.version_info[1]}) cannot import what the "
            f"node host needs ({error}): install grpcio, grpcio-health-checking, grpcio-reflection, grpcio-status, "
            "protobuf, numpy, ml_dtypes, pillow and torch there, or make the environment with our own Python"
        )
    if action == "check":
        sys.exit(host.checked(arguments))
    host.main(arguments)


if __name__ == "__main__":
    _main()
