"""Recorded requests of a plain server: status, content type, headers and bodies of ours are the recorded ones."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from heliograph.graph.v1 import event_pb2 as events
from heliograph.graph.v1 import run_service_pb2 as graph
from PIL import Image

from tests.contract.rest import recordings
from tests.contract.rest.served import Answer, Served
from tests.support.fake_front import StoredFile

SAMPLES = recordings.http_samples()
STATES = {"success": events.RUN_STATE_SUCCEEDED, "error": events.RUN_STATE_FAILED}
# Scripts are served as bytes without a type a browser would run: see test_views.py.
ACTIVE = ("s.js",)


def samples(method: str, prefix: str, status: int | None = None) -> list[dict[str, Any]]:
    """Recorded exchanges whose path starts so."""
    return [
        sample
        for sample in SAMPLES
        if sample["request"]["method"] == method
        and sample["request"]["path"].startswith(prefix)
        and status in (None, sample["status"])
    ]


def send(served: Served, sample: dict[str, Any]) -> Answer:
    """Sends a recorded request."""
    request = sample["request"]
    if "json" in request and request["method"] == "POST":
        return served.post_json(request["path"], request["json"])
    body = request.get("data", "").encode() if request["method"] == "POST" else None
    body = b"" if body == b"(empty)" else body
    return served.request(request["method"], request["path"], body, request.get("headers"))


def run_of(item: list[Any], entry: dict[str, Any] | None = None) -> graph.Run:
    """A stored run from a recorded queue item and history entry."""
    number, run_id, prompt, extra, outputs = item
    run = graph.Run(
        run_id=run_id,
        number=number,
        number_given=isinstance(number, float),
        prompt_json=json.dumps(prompt).encode(),
        extra_data_json=json.dumps(extra).encode(),
        outputs_to_execute=outputs,
        state=events.RUN_STATE_PENDING,
    )
    if entry is not None:
        run.state = STATES[entry["status"]["status_str"]]
        for name in ("outputs", "meta"):
            setattr(run, f"{name}_json", json.dumps(entry[name]).encode())
        run.messages_json = json.dumps(entry["status"]["messages"]).encode()
    return run


def id_of(sample: dict[str, Any]) -> str:
    """Readable test id."""
    return f"{sample['request']['method']} {sample['request']['path']} {sample.get('note', '')}"[:90]


HISTORY = [sample for sample in samples("GET", "/history/") if sample["body_json"]]


@pytest.mark.parametrize("sample", HISTORY, ids=id_of)
def test_history_entries(sample: dict[str, Any], served: Served) -> None:
    ((run_id, entry),) = sample["body_json"].items()
    served.backend.history.append(run_of(entry["prompt"], entry))
    answer = send(served, sample)
    assert answer.json == sample["body_json"]
    assert answer.content_type == sample["headers"]["Content-Type"]
    assert list(answer.json[run_id]) == list(entry)
    assert served.request("GET", "/api" + sample["request"]["path"]).json == answer.json


def test_history_is_not_told_before_the_end(served: Served) -> None:
    served.backend.running.append(run_of([1, "r", {}, {}, []]))
    assert served.request("GET", "/history/r").json == {}


PAGES = [sample for sample in samples("GET", "/history?") if "keys_returned" in sample]


@pytest.mark.parametrize("sample", PAGES, ids=id_of)
def test_pages_of_history(sample: dict[str, Any], served: Served) -> None:
    ids = [next(iter(entry["body_json"])) for entry in HISTORY[:2]]
    recorded = ["3280a15d-e8f8-4641-8d6c-834486997747", "f7eb0d81-ca07-4cf0-96a3-be4efad35637"]
    assert ids == recorded
    order = [*recorded, "7ddb17ca-dbb8-478e-8ee3-a033f8a1c28e", "2d8e5190-5095-4165-bf3b-f17a63fc5193"]
    for run_id in order:
        run = run_of([0, run_id, {}, {}, []])
        run.state = events.RUN_STATE_SUCCEEDED
        served.backend.history.append(run)
    assert list(send(served, sample).json) == sample["keys_returned"]


def test_long_histories_are_read_in_pages(served: Served) -> None:
    for index in range(150):
        run = run_of([index, f"run-{index}", {}, {}, []])
        run.state = events.RUN_STATE_SUCCEEDED
        served.backend.history.append(run)
    served.backend.page_limit = 40
    names = [f"run-{index}" for index in range(150)]
    assert list(served.request("GET", "/history").json) == names
    assert list(served.request("GET", "/history?offset=100").json) == names[100:]
    assert list(served.request("GET", "/history?max_items=100").json) == names[50:]
    assert list(served.request("GET", "/history?max_items=60").json) == names[90:]
    assert list(served.request("GET", "/history?max_items=70&offset=10").json) == names[10:80]


def test_the_queue(served: Served) -> None:
    (sample,) = [s for s in samples("GET", "/queue") if s.get("note", "").startswith("one running")]
    want = sample["body_json"]
    served.backend.running.extend(run_of(item) for item in want["queue_running"])
    served.backend.pending.extend(run_of(item) for item in want["queue_pending"])
    answer = send(served, sample)
    assert answer.json == want
    assert answer.body == json.dumps(want).encode()  # numbers of the counter stay whole
    assert served.request("GET", "/prompt").json == {"exec_info": {"queue_remaining": 3}}


SIMPLE = [
    *samples("GET", "/queue", 200)[1:2],
    *samples("GET", "/nope"),
    *samples("GET", "/api/nope"),
    *samples("GET", "/subgraphs"),
    *samples("GET", "/history?max_items=abc"),
    *samples("GET", "/features"),
    *samples("GET", "/models/nope"),
    *samples("GET", "/view_metadata"),
    *samples("POST", "/queue"),
    *samples("POST", "/history"),
    *samples("POST", "/interrupt"),
    *samples("POST", "/free"),
    *samples("OPTIONS", "/prompt"),
    *samples("PUT", "/prompt"),
    *samples("DELETE", "/queue"),
    *[sample for sample in samples("POST", "/prompt") if sample["status"] == 500],
]


@pytest.mark.parametrize("sample", SIMPLE, ids=id_of)
def test_simple_exchanges(sample: dict[str, Any], served: Served) -> None:
    headers = {k: v.replace("8388", str(served.port)) for k, v in sample["request"].get("headers", {}).items()}
    answer = send(served, {**sample, "request": {**sample["request"], "headers": headers}})
    assert answer.status == sample["status"]
    assert answer.content_type == sample["headers"].get("Content-Type", "")
    assert answer.headers.get("allow") == sample["headers"].get("Allow")
    if "body_text" in sample:
        said = answer.body.decode()
        if sample["status"] == 500:  # what is wrong follows the recorded text
            said, _, problem = said.rpartition("\n\n")
            assert problem
        assert said == sample["body_text"]
    elif "body_json" in sample:
        assert answer.json == sample["body_json"]
    else:
        assert answer.body == b""


ACCEPTED = [sample for sample in samples("POST", "/prompt", 200) if sample["body_json"]["node_errors"] == {}]


@pytest.mark.parametrize("sample", ACCEPTED, ids=range(len(ACCEPTED)))
def test_receipts_show_whole_and_given_numbers_as_recorded(sample: dict[str, Any], served: Served) -> None:
    want, body = sample["body_json"], sample["request"]["json"]
    served.backend.counter = abs(int(want["number"]))
    answer = send(
        served, {**sample, "request": {**sample["request"], "json": {**body, "prompt_id": want["prompt_id"]}}}
    )
    assert answer.body == json.dumps(want).encode()
    (request,) = served.backend.called("SubmitRun")
    assert json.loads(request.prompt_json) == body["prompt"]
    assert request.client_id == body.get("client_id", "")
    assert json.loads(request.extra_data_json) == body.get("extra_data", {})


def picture(size: int) -> bytes:
    """A PNG with alpha of exactly this many bytes (padding after its end)."""
    target = io.BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(target, "png")
    return target.getvalue().ljust(size, b"\0")


VIEWS = [
    sample
    for sample in (*samples("GET", "/view?"), *samples("HEAD", "/view?"))
    if not any(f"filename={name}" in sample["request"]["path"] for name in ACTIVE)
]


@pytest.mark.parametrize("sample", VIEWS, ids=id_of)
def test_views(sample: dict[str, Any], served: Served) -> None:
    sizes = {
        ("input", "", "up.png"): 79,
        ("output", "rec", "a_00001_.png"): 559,
        **{
            ("input", "", name): 0
            for name in ("page.html", "t.txt", "v.mp4", "x.latent", "d.json", "p.svg", "w.webp", "noext")
        },
    }
    length = int(sample["headers"].get("Content-Length", "0"))
    for key, size in sizes.items():
        served.backend.files[key] = StoredFile(picture(size) if size else b"x" * length)
    answer = send(served, sample)
    want = sample["headers"]
    assert answer.status == sample["status"]
    assert answer.content_type == want.get("Content-Type", "")
    for name in ("Content-Disposition", "Accept-Ranges", "Content-Range"):
        assert answer.headers.get(name.lower()) == want.get(name)
    for name in ("Etag", "Last-Modified"):
        assert (name.lower() in answer.headers) == (name in want)
    if "Etag" in want:
        assert re.fullmatch(r'"[0-9a-f]+-[0-9a-f]+"', answer.headers["etag"])
        assert answer.headers["etag"].partition("-")[2] == want["Etag"].partition("-")[2]
    if "Etag" in want and "Content-Length" in want:
        assert answer.headers["content-length"] == want["Content-Length"]
    if sample["request"]["method"] == "HEAD":
        assert answer.body == b"" and not served.backend.called("DownloadArtifact")


def test_system_stats_has_the_recorded_keys(served: Served) -> None:
    (sample,) = samples("GET", "/system_stats")
    served.backend.system.update(ram_total=8, ram_free=4, pytorch_version="2.13.0+cpu", python_version="3.11.7")
    answer = send(served, sample).json
    want = sample["body_json"]
    assert list(answer["system"]) == list(want["system"])
    assert list(answer["devices"][0]) == list(want["devices"][0])
    assert (answer["system"]["ram_total"], answer["devices"][0]["vram_free"]) == (8, 4)


def test_models(served: Served) -> None:
    (sample,) = [s for s in samples("GET", "/models") if s["request"]["path"] == "/models"]
    served.backend.models.update({name: {} for name in sample["body_json"]})
    served.backend.models["embeddings"] = {"a.pt": {}, "sub/b.safetensors": {}}
    served.backend.models["checkpoints"] = {"c.safetensors": {"title": "c"}, "plain.safetensors": {}}
    served.backend.models["clip"] = {"hidden.safetensors": {}}
    assert send(served, sample).json == sample["body_json"] + ["clip"]
    assert served.request("GET", "/models/checkpoints").json == ["c.safetensors", "plain.safetensors"]
    assert served.request("GET", "/models/clip").status == 404
    assert served.request("GET", "/embeddings").json == ["a", "sub/b"]
    assert served.request("GET", "/view_metadata/checkpoints?filename=c.safetensors").json == {"title": "c"}
    for name in ("plain.safetensors", "none.safetensors", "a.pt"):
        assert served.request("GET", f"/view_metadata/checkpoints?filename={name}").status == 404


def test_object_info(served: Served) -> None:
    served.backend.object_info.update(A={"name": "A"}, B={"name": "B"})
    assert served.request("GET", "/object_info").json == {"A": {"name": "A"}, "B": {"name": "B"}}
    assert served.request("GET", "/api/object_info/B").json == {"B": {"name": "B"}}
    assert served.request("GET", "/object_info/C").json == {}


def test_a_trailing_slash_is_another_path(served: Served) -> None:
    assert served.request("GET", "/queue/").status == 404


def test_changes_reach_the_front(served: Served) -> None:
    served.post_json("/queue", {"clear": True, "delete": ["a", 5, "b"]})
    served.post_json("/history", {"delete": ["c"]})
    served.post_json("/interrupt", {"prompt_id": "r"})
    served.request("POST", "/interrupt")
    served.post_json("/free", {"unload_models": True})
    assert [(list(r.run_ids), r.all) for r in served.backend.called("DeletePending")] == [
        ([], True),
        (["a", "b"], False),
    ]
    assert [list(r.run_ids) for r in served.backend.called("DeleteHistory")] == [["c"]]
    assert [(list(r.run_ids), r.include_pending) for r in served.backend.called("CancelRun")] == [
        (["r"], False),
        ([], False),
    ]
    assert [(r.unload_models, r.free_memory) for r in served.backend.called("FreeMemory")] == [(True, False)]
