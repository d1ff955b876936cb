"""A server that is killed while it computes: its clients know at once, and it leaves nothing behind that hurts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from tests.contract.kserve import networks
from tests.contract.kserve.calls import ENDLESS, begin, rounds
from tests.contract.kserve.servers import ROOT, triton

KIND = ["embedded", pytest.param("triton", marks=pytest.mark.stack)]


@contextmanager
def _killable(kind: str, folder: Path) -> Iterator[tuple[str, subprocess.Popen[Any]]]:
    """Address and process of a server that has the slow model."""
    if kind == "triton":
        with triton(folder) as server:
            server.publish(networks.slow(folder))
            yield server.address, server.process
        return
    command = (sys.executable, "-m", "tests.contract.kserve.served_apart", str(folder))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.kill()


@pytest.mark.parametrize("kind", KIND)
def test_a_killed_server_is_unavailable_at_once(kind: str, tmp_path: Path) -> None:
    with _killable(kind, tmp_path) as (address, process), closing(triton_grpc.InferenceServerClient(address)) as client:
        client.load_model("slow")
        _, answers = begin(client, "slow", ENDLESS)
        process.kill()
        process.wait()
        _, error = answers.get(timeout=5)
        assert error is not None
        assert error.status() == "StatusCode.UNAVAILABLE"
        with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
            client.infer("slow", rounds(1), client_timeout=5)


@pytest.mark.stack
def test_a_killed_triton_leaves_no_computing_process(tmp_path: Path) -> None:
    with (
        _killable("triton", tmp_path) as (address, process),
        closing(triton_grpc.InferenceServerClient(address)) as client,
    ):
        client.load_model("slow")
        begin(client, "slow", ENDLESS)
        children = _children(process.pid)
        assert children
        process.kill()
        process.wait()
        deadline = time.monotonic() + 20
        while any(_runs(child) for child in children) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(_runs(child) for child in children)


def _children(pid: int) -> list[int]:
    listed = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for children in listed for child in children]


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
