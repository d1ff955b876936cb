"""Files for browsers that node packs have: listed with the web UI's, served from their provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.serve import AioServer
from node_host.provider import Provider, provider_server
from tests.contract.rest.served import Served, running_bridge
from tests.support.stack import free_ports


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A bridge before two providers, of which one is away."""
    root = tmp_path_factory.mktemp("pack")
    for name, content in {
        "js/a.js": b"a()", "js/deep/b.js": b"b()" * 700_000, "js/look.css": b"*{}", "js/empty.js": b"", "secret": b"no",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "js" / "link.js").symlink_to(root / "secret")
    here, away = free_ports(2)
    with running_bridge(node_providers=f"127.0.0.1:{away}, 127.0.0.1:{here}") as running:
        server = running.wait_on_loop(_serve(here, root / "js"))
        yield running
        running.wait_on_loop(server.stop(0))


async def _serve(port: int, folder: Path) -> AioServer:
    server = provider_server(Provider([], shared_memory=False, web={"pack": folder}), f"127.0.0.1:{port}")
    await server.start()
    return server


def test_scripts_are_listed_and_come_as_what_they_are(served: Served) -> None:
    found = served.request("GET", "/extensions").json
    assert found == ["/extensions/pack/a.js", "/extensions/pack/deep/b.js", "/extensions/pack/empty.js"]
    script = served.request("GET", found[0])
    assert (script.status, script.body, script.headers["x-content-type-options"]) == (200, b"a()", "nosniff")
    assert "javascript" in script.content_type and script.headers["cache-control"] == "no-cache"
    assert served.request("GET", "/api" + found[1]).body == b"b()" * 700_000
    assert served.request("GET", found[2]).body == b""
    assert "css" in served.request("GET", "/extensions/pack/look.css").content_type


@pytest.mark.parametrize(
    "path", ["pack/none.js", "pack/link.js", "other/a.js", "pack/../secret", "pack/%2e%2e/secret",
             "pack/%2E%2E%2Fsecret", "pack//a.js", "pack/deep", "core/x.js"],
)  # fmt: skip
def test_nothing_else_is_there(served: Served, path: str) -> None:
    answer = served.request("GET", f"/extensions/{path}")
    assert answer.status == 404 and b"no" not in answer.body
