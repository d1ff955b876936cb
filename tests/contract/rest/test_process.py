"""The bridge as a process: it starts without anything behind it, says what it is, and ends when told."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rest_bridge.app.main import listen
from rest_bridge.app.settings import Settings
from tests.support.stack import REPO, free_ports

LIMIT_S = 30.0


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the port answers."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
            connection.request("GET", "/features")
            assert connection.getresponse().status == 200
            connection.close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError("the bridge does not answer")


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_when_told(sent: signal.Signals, tmp_path: Path) -> None:
    port, front = free_ports(2)
    settings = {"HELIOGRAPH_REST_PORT": str(port), "HELIOGRAPH_FRONT_ADDRESS": f"127.0.0.1:{front}"}
    command = [sys.executable, "-m", "rest_bridge.app.main"]
    environment = {**os.environ, **settings, "PYTHONPATH": str(REPO)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=REPO, env=environment, stderr=log)
        try:
            wait_for(port, process)
            process.send_signal(sent)
            assert process.wait(LIMIT_S) == 0
        finally:
            process.kill()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_answers_are_not_held_back_by_the_kernel() -> None:
    with listen(Settings.load(rest_port=0)) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_what_it_does_not_import() -> None:
    code = "import sys, json, rest_bridge.app.main; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, check=True, capture_output=True, timeout=LIMIT_S
    ).stdout
    loaded = set(json.loads(out))
    assert not loaded & {"torch", "numpy", "tritonclient", "onnxruntime", "PIL"}


def test_wrong_settings_are_named() -> None:
    environment = {**os.environ, "HELIOGRAPH_REST_PORT": "99999", "PYTHONPATH": str(REPO)}
    command = [sys.executable, "-m", "rest_bridge.app.main"]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, timeout=LIMIT_S, check=False)
    assert done.returncode != 0 and b"HELIOGRAPH_REST_PORT" in done.stderr
