"""Clients that cannot live in our environment, installed below build/ on first use."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stack import REPO

HERE = Path(__file__).parent
BUILD = REPO / "build" / "clients"
INSTALL_LIMIT_S = 400
# What npm and pip say where there is no registry or it lacks the package; anything else is a failure of the test.
_NO_REGISTRY = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|\bE404\b|\bE403\b"
    r"|No matching distribution found|NewConnectionError|ConnectTimeoutError|ProxyError"
)


def npm_folder() -> Path:
    """A folder whose node_modules has what package-lock.json names, with the scripts beside it: node looks there."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    wanted = [HERE / "npm" / name for name in ("package.json", "package-lock.json", ".npmrc")]
    folder = BUILD / "npm"
    if _is_new(folder, wanted):
        for source in wanted:
            shutil.copy(source, folder)
        _install(("npm", "ci", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"), folder)
    for script in (HERE / "npm").glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


def python_with_clients() -> Path:
    """The interpreter of an environment that has requirements.txt."""
    wanted = [HERE / "python" / "requirements.txt"]
    folder = BUILD / f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = folder / "bin" / "python"
    if _is_new(folder, wanted):
        subprocess.run((sys.executable, "-m", "venv", str(folder)), check=True, timeout=INSTALL_LIMIT_S)
        pip = (str(interpreter), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps")
        _install((*pip, "--only-binary", ":all:", "--requirement", str(wanted[0])), folder)
    return interpreter


def run(*command: str, cwd: Path) -> str:
    """What a client's script reports, on a line of its own among what the client logs."""
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    (report,) = [line for line in result.stdout.splitlines() if line.startswith("report ")]
    return report.removeprefix("report ")


def _is_new(folder: Path, wanted: list[Path]) -> bool:
    """Whether this was not installed from just these files; then the folder is empty."""
    if (folder / "installed").is_file() and (folder / "installed").read_text() == _digest(wanted):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "wanted").write_text(_digest(wanted))
    return True


def _install(command: tuple[str, ...], folder: Path) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
    if result.returncode == 0:
        (folder / "wanted").rename(folder / "installed")
        return
    said = (result.stderr + result.stdout).strip()
    reason = next((line.strip() for line in said.splitlines() if _NO_REGISTRY.search(line)), "")
    if reason:
        pytest.skip(f"{Path(command[0]).name} cannot install the clients: {reason}")
    pytest.fail(f"{Path(command[0]).name} cannot install the clients:\n{said[-3000:]}")


def _digest(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
