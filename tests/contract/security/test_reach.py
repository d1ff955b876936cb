"""What can be reached from where: loopback alone unless asked for, no passwords, no address out of a request."""

from __future__ import annotations

import ast
import ipaddress
import json
from pathlib import Path

import grpc
import pytest
from heliograph.graph.v1 import run_service_pb2 as graph

from deploy.triton.serve import Place, command, parse
from model_service.app.settings import ModelServiceSettings
from orchestrator.app.settings import FrontSettings, WorkerSettings
from rest_bridge.app.settings import Settings as RestSettings
from tests.contract.rest.served import Served
from tests.support.stack import REPO

ALL_SETTINGS = (RestSettings, FrontSettings, WorkerSettings, ModelServiceSettings)
OURS = ("kit", "orchestrator", "model_service", "rest_bridge", "sampling", "node_host", "triton_repo", "cli")
REACH_OUT = {
    "urllib.request",
    "http.client",
    "http",
    "requests",
    "httpx",
    "aiohttp",
    "urllib3",
    "ftplib",
    "smtplib",
    "telnetlib",
    "socket",
    "socketserver",
    "xmlrpc",
    "webbrowser",
    "huggingface_hub",
    "subprocess",
    "pickle",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
}
ALLOWED = {
    ("rest_bridge/app/main.py", "socket"),  # listens
    ("kit/telemetry.py", "socket"),
    ("cli/doctor.py", "urllib.request"),  # asks our own bridge, at the operator's call
    ("cli/doctor.py", "socket"),
    ("cli/doctor.py", "subprocess"),
    ("model_service/catalogue/hashing.py", "subprocess"),  # our own modules, in processes of their own
    ("model_service/servables/tracing.py", "subprocess"),
    ("orchestrator/nodes/regexes.py", "subprocess"),
    ("orchestrator/app/worker.py", "socket"),  # the machine's name
    ("cli/up.py", "subprocess"),
    ("cli/nodes.py", "subprocess"),  # the operator's own node packs, in a process of theirs
    ("cli/up.py", "socket"),
    ("cli/features.py", "subprocess"),
}


def is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]") if ":" in address else address
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda cls: cls.__module__)
def test_by_default_everything_listens_on_loopback(settings: type) -> None:
    chosen = settings.load()  # type: ignore[attr-defined]
    addresses = {
        name: value
        for name in type(chosen).model_fields
        if (name.endswith(("_address", "_host"))) and (value := getattr(chosen, name))
    }
    assert addresses
    for name, address in addresses.items():
        assert is_loopback(address), name


def test_triton_listens_on_loopback_and_loads_what_we_say() -> None:
    told = command(parse([], {}), Place(Path("/venv")))
    for option in ("grpc", "http", "metrics"):
        assert f"--{option}-address=127.0.0.1" in told
    assert "--model-control-mode=explicit" in told


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda cls: cls.__module__)
def test_there_are_no_credentials_to_leave_at_their_default(settings: type) -> None:
    for name, field in settings.model_fields.items():  # type: ignore[attr-defined]
        if any(word in name for word in ("password", "secret", "token", "credential", "api_key", "access_key")):
            assert not field.default, name


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name for name in found if name in REACH_OUT or name.partition(".")[0] in REACH_OUT - {"http"}}


def test_nothing_that_serves_opens_addresses_or_unpickles() -> None:
    """No request can make us fetch a URL, because nothing of ours can: gRPC to configured addresses is all."""
    seen = {
        (path.relative_to(REPO).as_posix(), name)
        for package in OURS
        for path in (REPO / package).rglob("*.py")
        for name in imported(path)
    }
    assert seen <= ALLOWED, seen - ALLOWED


URLS = (
    "http://169.254.169.254/latest/meta-data/",
    "https://evil.example/a.png",
    "file:///etc/passwd",
    "ftp://evil/a.png",
    "gopher://127.0.0.1:6379/_INFO",
    "//evil.example/a.png",
    "\\\\evil.example\\share\\a.png",
    "data:image/png;base64,AA==",
    "rtsp://127.0.0.1/x",
    "concat:a.png|b.png",
    "subfile,,start,0,end,9,,:a.png",
    "pipe:0",
    "tcp://127.0.0.1:22",
)


@pytest.mark.parametrize("url", URLS)
def test_addresses_are_names_that_nobody_has(url: str, served: Served) -> None:
    from urllib.parse import quote

    assert served.request("GET", f"/view?filename={quote(url, safe='')}").status in (400, 403, 404)
    assert served.request("GET", f"/view?filename=a.png&subfolder={quote(url, safe='')}").status in (403, 404)
    assert served.request("GET", f"/userdata/{quote(url, safe='')}").status in (403, 404)
    assert served.request("GET", f"/view_metadata/checkpoints?filename={quote(url, safe='')}").status == 404
    form = [("image", "a.png", b"x"), ("original_ref", None, json.dumps({"filename": url}).encode())]
    answer = served.post_form("/upload/mask", form)
    assert answer.status in (200, 400, 500) and served.backend.files == {}


async def test_a_browser_cannot_speak_grpc(served: Served) -> None:
    """A page can send HTTP/1.1 only; the gRPC ports answer that with nothing it could read."""
    import asyncio

    host, _, port = served.fakes_address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /heliograph.graph.v1.RunService/SubmitRun HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    async with asyncio.timeout(20):
        answer = await reader.read(4096)
    writer.close()
    assert b"HTTP/1.1 200" not in answer
    assert not served.backend.called("SubmitRun")


async def test_a_grpc_message_over_the_limit(served: Served) -> None:
    from heliograph.graph.v1.run_service_pb2_grpc import RunServiceStub

    big = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(served.fakes_address, options=big) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await RunServiceStub(channel).SubmitRun(graph.SubmitRunRequest(prompt_json=b" " * (65 * 1024 * 1024)))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not served.backend.called("SubmitRun")
