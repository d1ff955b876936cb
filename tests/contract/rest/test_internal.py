"""What the web UI asks beyond prompts: model folders and their pictures, logs, translations, templates."""

from __future__ import annotations

import base64
import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kit.errors import Unsupported
from tests.contract.rest import recordings
from tests.contract.rest.served import WAIT_S, Served, running_bridge
from tests.support.fake_front import StoredFile

SAMPLES = {
    (sample["request"]["method"], sample["request"]["path"]): sample for sample in recordings.http_samples()
}  # the first of each


def like_recorded(served: Served, method: str, path: str, alias: bool = False) -> Any:
    """Sends the recorded request; status and type are the recorded ones; returns (answer's JSON, recorded one)."""
    sample = SAMPLES[method, path]
    body = json.dumps(sample["request"]["json"]).encode() if "json" in sample["request"] else None
    answer = served.request(method, ("/api" if alias else "") + path, body)
    assert (answer.status, answer.content_type) == (sample["status"], sample["headers"].get("Content-Type", ""))
    return (answer.json if answer.body else None), sample.get("body_json")


@pytest.mark.parametrize("path", ["/i18n", "/workflow_templates", "/experiment/models/nope"])
@pytest.mark.parametrize("alias", [False, True])
def test_empty_answers(path: str, alias: bool, served: Served) -> None:
    answer, want = like_recorded(served, "GET", path, alias)
    assert answer == want


def test_model_folders(served: Served) -> None:
    recorded = SAMPLES["GET", "/internal/folder_paths"]["body_json"]
    served.backend.models.update({name: {} for name in recorded})
    served.backend.search_paths.update(recorded)
    answer, want = like_recorded(served, "GET", "/internal/folder_paths")
    assert answer == want and list(answer) == list(want)
    assert served.request("GET", "/api/internal/folder_paths").status == 404
    answer, want = like_recorded(served, "GET", "/experiment/models", alias=True)
    assert answer == want


def test_model_files(served: Served) -> None:
    (want,) = SAMPLES["GET", "/experiment/models/checkpoints"]["body_json"]
    served.backend.models["checkpoints"] = {want["name"]: {}}
    served.backend.model_facts[want["name"]] = {
        "size_bytes": want["size"],
        "modified_s": want["modified"],
        "created_s": want["created"],
        "path_index": want["pathIndex"],
    }
    answer, recorded = like_recorded(served, "GET", "/experiment/models/checkpoints")
    assert answer == recorded


def test_internal_files(served: Served) -> None:
    for index, name in enumerate(SAMPLES["GET", "/internal/files/output"]["body_json_excerpt"]):
        served.backend.files["output", "", name] = StoredFile(b"x", 1000 - index)
    answer, _ = like_recorded(served, "GET", "/internal/files/output")
    assert answer == SAMPLES["GET", "/internal/files/output"]["body_json_excerpt"]
    answer, want = like_recorded(served, "GET", "/internal/files/bad")
    assert answer == want
    for name in ("..", "%2e%2e%2F", "models", "output%2F.."):
        assert served.request("GET", f"/internal/files/{name}").status == 400


def picture(colour: str) -> bytes:
    """An encoded picture."""
    target = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(target, "png")
    return target.getvalue()


def shown(served: Served, path: str) -> str:
    """Colour of a model's picture, or the status."""
    answer = served.request("GET", f"/api/experiment/models/preview/{path}")
    if answer.status != 200:
        return str(answer.status)
    assert answer.content_type == "image/webp"
    red, green, blue = Image.open(io.BytesIO(answer.body)).convert("RGB").getpixel((1, 1))  # type: ignore[misc]
    return max((red, "red"), (green, "green"), (blue, "blue"))[1]


def test_pictures_of_models(served: Served, tmp_path: Path) -> None:
    outside, folder = tmp_path / "secret.png", tmp_path / "loras"
    (folder / "sub").mkdir(parents=True)
    outside.write_bytes(picture("red"))
    (folder / "a.preview.png").write_bytes(picture("blue"))
    (folder / "sub" / "b.png").write_bytes(picture("green"))
    (folder / "linked.png").symlink_to(outside)
    (folder / "broken.png").write_bytes(b"no picture")
    cover = json.dumps(["no base64!", base64.b64encode(b"none").decode(), base64.b64encode(picture("red")).decode()])
    names = ("a", "sub/b", "linked", "broken", "plain", "covered", "odd", "odder")
    served.backend.models["loras"] = {f"{name}.safetensors": {} for name in names}
    served.backend.models["loras"]["covered.safetensors"] = {"ssmd_cover_images": cover}
    served.backend.models["loras"]["odd.safetensors"] = {"ssmd_cover_images": "[[[["}
    served.backend.models["loras"]["odder.safetensors"] = {"ssmd_cover_images": "5"}
    served.backend.search_paths["loras"] = [str(folder)]
    assert shown(served, "loras/0/a.safetensors") == "blue"
    assert shown(served, "loras/0/sub%2Fb.safetensors") == shown(served, "loras/0/sub/b.safetensors") == "green"
    assert shown(served, "loras/0/covered.safetensors") == "red"
    for path in (
        *(f"loras/0/{name}.safetensors" for name in ("linked", "broken", "plain", "odd", "odder", "none")),
        "loras/1/a.safetensors",
        "loras/-1/a.safetensors",
        "loras/x/a.safetensors",
        "nope/0/a.safetensors",
        "loras/0/..%2Fsecret.safetensors",
        "loras/0/../secret.safetensors",
        "loras/0/%2e%2e%2fsecret.png",
        "loras/0/a%00.safetensors",
    ):
        assert shown(served, path) == "404", path
    served.backend.fail["DescribeModel"] = Unsupported("unknown", reason="ARCH_UNKNOWN")
    assert shown(served, "loras/0/plain.safetensors") == "404"
    assert served.request("GET", "/view_metadata/loras?filename=plain.safetensors").status == 404


def test_logs(alone: Served) -> None:
    alone.request("GET", "/internal/logs")  # whoever answers also listens
    log = logging.getLogger("heliograph.test")
    for index in range(400):
        log.warning("line %d", index)
    log.warning("x" * 9000)
    answer, _ = like_recorded(alone, "GET", "/internal/logs")
    assert isinstance(answer, str) and "line 399\n" in answer and "line 1\n" not in answer
    raw, _ = like_recorded(alone, "GET", "/internal/logs/raw")
    assert len(raw["entries"]) == 300 and set(raw) == {"entries", "size"} and raw["size"] == {"cols": 80, "rows": 24}
    assert set(raw["entries"][0]) == {"t", "m"} and raw["entries"][-2]["m"].endswith("line 399\n")
    assert len(raw["entries"][-1]["m"]) < 5000
    assert alone.request("GET", "/api/internal/logs").status == 404


def test_log_subscription(alone: Served) -> None:
    log = logging.getLogger("heliograph.test")
    assert like_recorded(alone, "PATCH", "/internal/logs/subscribe") == (None, None)
    with alone.socket("x") as client:
        client.recv(timeout=WAIT_S)
        like_recorded(alone, "PATCH", "/internal/logs/subscribe")
        log.warning("hello")
        told = json.loads(client.recv(timeout=WAIT_S))
        assert told["type"] == "logs" and told["data"]["entries"][-1]["m"].endswith("hello\n")
        off = json.dumps({"clientId": "x", "enabled": False}).encode()
        assert alone.request("PATCH", "/internal/logs/subscribe", off).status == 200
        log.warning("more")
        with pytest.raises(TimeoutError):
            client.recv(timeout=0.2)
    for body in (b"", b"{}", b"[]", b'{"clientId": 5, "enabled": true}', b'{"clientId": "x"}'):
        assert alone.request("PATCH", "/internal/logs/subscribe", body).status == 500


def test_templates(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    root = tmp_path / "templates"
    for name in ("pack/one.json", "pack/one.jpg", "pack/run.html", "empty/x.txt", ".hidden/a.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text('{"a": 1}')
    (root / "pack" / "link.json").symlink_to(tmp_path / "secret.json")
    with running_bridge(rest_templates_dir=str(root)) as served:
        assert served.request("GET", "/workflow_templates").json == {"pack": ["one"]}
        answer = served.request("GET", "/api/workflow_templates/pack/one.json")
        assert (answer.json, answer.content_type) == ({"a": 1}, "application/json")
        assert served.request("GET", "/api/workflow_templates/pack/one.jpg").content_type == "image/jpeg"
        for path in (
            "pack/link.json",
            "pack/run.html",
            "pack/none.json",
            "..%2Fsecret.json",
            "pack/..%2F..%2Fsecret.json",
            "../secret.json",
            "pack%2F..%2F../secret.json",
            "pack/",
            "%2e%2e/secret.json",
        ):
            assert served.request("GET", f"/api/workflow_templates/{path}").status == 404, path
