#!/usr/bin/env python3
"""Start the CPU Triton that `install.sh` installed: loopback only, models loaded by explicit control only.

Standard library only; the process becomes tritonserver (signals reach it directly). Defaults come from the same
environment variables as the services' settings; every option overrides its variable.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHM_PREFIX = "heliograph_triton_{port}_"


@dataclass(frozen=True)
class Place:
    """Where the parts of an installation are."""

    venv: Path

    @property
    def site(self) -> Path:
        return self.venv / "lib" / "python3.11" / "site-packages"

    @property
    def server(self) -> Path:
        return self.site / "pytriton" / "tritonserver"

    @property
    def binary(self) -> Path:
        return self.server / "bin" / "tritonserver"

    @property
    def library_path(self) -> str:
        """The wheel's own libraries, and the libpython of the interpreter that the stub embeds."""
        home = next(
            line.split("=", 1)[1].strip()
            for line in (self.venv / "pyvenv.cfg").read_text().splitlines()
            if line.split("=", 1)[0].strip() == "home"
        )
        return f"{self.site / 'nvidia_pytriton.libs'}:{Path(home).parent / 'lib'}"


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """Options, with the environment's values as defaults."""
    host, _, port = environ.get("HELIOGRAPH_TRITON_ADDRESS", "127.0.0.1:8191").rpartition(":")
    data = Path(environ.get("HELIOGRAPH_DATA_DIR", "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=data / "triton", help="model repository; made if missing")
    parser.add_argument("--host", default=host, help="address to listen on")
    parser.add_argument("--grpc-port", type=int, default=int(port))
    parser.add_argument("--http-port", type=int, default=int(environ.get("HELIOGRAPH_TRITON_HTTP_PORT", "8192")))
    parser.add_argument("--metrics-port", type=int, default=int(environ.get("HELIOGRAPH_TRITON_METRICS_PORT", "8193")))
    parser.add_argument("--venv", type=Path, default=Path(environ.get("TRITON_VENV", ROOT / ".venv-triton")))
    parser.add_argument("--exit-timeout-s", type=int, default=15, help="how long calls in flight may take on SIGTERM")
    parser.add_argument("--verbose", type=int, default=0)
    return parser.parse_args(arguments)


def command(options: argparse.Namespace, place: Place) -> list[str]:
    """tritonserver's command line."""
    return [
        str(place.binary),
        f"--model-repository={options.repository.resolve()}",
        f"--backend-directory={place.server / 'backends'}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        "--strict-readiness=false",
        f"--grpc-address={options.host}",
        f"--grpc-port={options.grpc_port}",
        f"--http-address={options.host}",
        f"--http-port={options.http_port}",
        f"--metrics-address={options.host}",
        f"--metrics-port={options.metrics_port}",
        f"--exit-timeout-secs={options.exit_timeout_s}",
        f"--log-verbose={options.verbose}",
        # Tensors between the server and a model's process: grows as needed.
        "--backend-config=python,shm-default-byte-size=16777216",
        f"--backend-config=python,shm-region-prefix-name={SHM_PREFIX.format(port=options.grpc_port)}",
    ]


def environment(place: Place, environ: Mapping[str, str]) -> dict[str, str]:
    """The model's process finds its interpreter and packages by PATH; nothing of ours leaks into it."""
    kept = {key: value for key, value in environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {
        **kept,
        "PATH": f"{place.venv / 'bin'}:{environ.get('PATH', '/usr/bin:/bin')}",
        "LD_LIBRARY_PATH": place.library_path,
    }


def sweep(port: int, folder: Path = Path("/dev/shm")) -> None:
    """Remove shared memory that a killed server on this port left behind."""
    for path in folder.glob(SHM_PREFIX.format(port=port) + "*"):
        path.unlink(missing_ok=True)


def main() -> int:
    """Become tritonserver, or say what is missing."""
    options = parse(sys.argv[1:], os.environ)
    place = Place(options.venv.absolute())
    if not (place.venv / ".installed").is_file():
        print(f"triton: not installed in {place.venv}; run deploy/triton/install.sh", file=sys.stderr)
        return 1
    options.repository.mkdir(parents=True, exist_ok=True)
    sweep(options.grpc_port)
    os.execve(place.binary, command(options, place), environment(place, os.environ))


if __name__ == "__main__":
    sys.exit(main())
