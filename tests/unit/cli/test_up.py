"""The supervisor: what it starts again, in which order it ends, and what ends with it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.up import Service, _drain, services
from kit.errors import NotFound

WAITS = "import signal, pathlib, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"


def _service(name: str, body: str) -> Service:
    made = Service(name, (sys.executable, "-c", WAITS + body), dict(os.environ))
    made.start(0.0)
    return made


def test_workers_end_before_the_front_is_asked_to(tmp_path: Path) -> None:
    order, up = tmp_path / "order", tmp_path / "up"
    body = (
        "def end(*_):\n    with open({order!r}, 'a') as file: file.write({name!r} + ' ')\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\npathlib.Path({up!r} + {name!r}).touch()\nsignal.pause()\n"
    )
    running = [
        _service(name, body.format(order=str(order), name=name, up=str(up))) for name in ("front", "worker-0", "bridge")
    ]
    while len(list(tmp_path.glob("up*"))) < 3:
        os.sched_yield()
    assert _drain(running) == 0
    assert order.read_text().split()[0] == "worker-0"


def test_a_service_that_died_is_started_again_after_a_pause() -> None:
    said: list[str] = []
    service = _service("x", "sys.exit(3)")
    assert service.process is not None
    service.process.wait(10)
    service.check(1.0, said.append)
    assert service.process is None and "status 3" in said[0]
    service.check(1.1, said.append)
    assert service.process is None
    service.check(1.3, said.append)
    assert service.process is not None
    service.process.wait(10)


def test_services_end_when_the_supervisor_is_killed() -> None:
    code = (
        "import sys, signal\nfrom cli.up import Service\nimport os\n"
        "service = Service('x', (sys.executable, '-c', 'import time; time.sleep(600)'), dict(os.environ))\n"
        "service.start(0.0)\nprint(service.process.pid, flush=True)\nsignal.pause()\n"
    )
    with subprocess.Popen((sys.executable, "-c", code), stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        ending = os.pidfd_open(int(supervisor.stdout.readline()))
        supervisor.send_signal(signal.SIGKILL)
        assert select.select([ending], [], [], 20)[0]
        os.close(ending)


def test_node_packs_get_processes_whose_addresses_everybody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    python = tmp_path / "two" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setenv("HELIOGRAPH_CUSTOM_NODES", f"{tmp_path / 'one'}{os.pathsep}{tmp_path / 'two'}")
    monkeypatch.setenv("HELIOGRAPH_NODE_PROVIDERS", "far:1")
    found = {service.name: service for service in services(1, "embedded", custom_nodes=[tmp_path / "three"])}
    hosts = [found[f"nodes-{name}"] for name in ("one", "two", "three")]
    addresses = ["far:1", *(host.command[4] for host in hosts)]
    assert len(set(addresses)) == 4 and all(address.startswith("127.0.0.1:") for address in addresses[1:])
    for name in ("front", "worker-0", "bridge"):
        assert found[name].environment["HELIOGRAPH_NODE_PROVIDERS"] == ",".join(addresses)
    assert [host.command[0] for host in hosts] == [sys.executable, str(python), sys.executable]
    assert [host.command[-1] for host in hosts] == [str(tmp_path / name) for name in ("one", "two", "three")]


def test_a_folder_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="node pack"):
        services(1, "embedded", custom_nodes=[tmp_path / "none"])
