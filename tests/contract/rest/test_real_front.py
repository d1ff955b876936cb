"""The bridge before the real front: recorded refusals end to end, and one run from submission to history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from heliograph.graph.v1 import event_pb2 as events
from heliograph.graph.v1 import worker_service_pb2 as work
from heliograph.graph.v1.worker_service_pb2_grpc import WorkerServiceStub

from kit.serve import channel_options
from orchestrator.app.front import start_front
from orchestrator.app.settings import FrontSettings
from tests.contract.rest import recordings
from tests.contract.rest.served import WAIT_S, Served, running_bridge
from tests.contract.rest.test_recorded_errors import masked, send
from tests.support import reference
from tests.support.stack import REPO, free_ports

OUTSIDE = frozenset({"NoSuchNode"})  # meant to be unknown
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 1}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


def reached(case: dict[str, Any]) -> bool:
    """True if all of a case's node classes are ours."""
    prompt = case["request"].get("json", {}).get("prompt") or {}
    types = {node["class_type"] for node in prompt.values() if "class_type" in node}
    return types <= reference.node_types() | OUTSIDE


CASES = [case for case in recordings.error_cases() if reached(case)]


def wait_for_front(served: Served) -> None:
    """Until the bridge has found the front, which began after it."""
    for _ in range(1000):
        if served.request("GET", "/queue").status == 200:
            return
    raise AssertionError("the bridge does not find the front")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Bridge, real front, fake model service, no worker; the fakes' run and artifact services are not used."""
    (port,) = free_ports(1)
    with running_bridge(front_address=f"127.0.0.1:{port}") as served:
        served.backend.models.update(checkpoints={"synth_sd15_mini.safetensors": {}}, embeddings={}, vae={}, loras={})
        settings = FrontSettings.load(
            data_dir=tmp_path_factory.mktemp("data"),
            front_address=f"127.0.0.1:{port}",
            model_address=served.fakes_address,
        )
        front = served.wait_on_loop(start_front(settings))
        wait_for_front(served)
        yield served
        served.wait_on_loop(front.stop(0))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_recorded_answers_end_to_end(case: dict[str, Any], real: Served) -> None:
    answer, want = send(case, real), case["response"]
    assert (answer.status, answer.content_type) == (want["status"], want["content_type"])
    if "json" in want and case["match"] == "exact":
        assert sorted_sets(masked(answer.json)) == sorted_sets(masked(want["json"]))


def sorted_sets(value: Any) -> Any:
    """Lists that ComfyUI takes from sets have no order, and tooltips no say."""
    if isinstance(value, dict):
        found = {key: sorted_sets(item) for key, item in value.items() if key != "tooltip"}
        for key in ("errors", "dependent_outputs"):
            if isinstance(found.get(key), list):
                found[key].sort(key=json.dumps)
        return found
    return [sorted_sets(item) for item in value] if isinstance(value, list) else value


async def work_once(address: str) -> None:
    """A worker that leases one run and reports a node with two steps and previews."""
    async with grpc.aio.insecure_channel(address, options=channel_options()) as channel:
        call = WorkerServiceStub(channel).Work(timeout=WAIT_S)
        await call.write(work.WorkRequest(hello=work.WorkerHello(worker_id="w")))
        async for told in call:
            for lease in told.leases:
                await call.write(work.WorkRequest(reports=[report(lease.lease_id)]))
            if told.stored_lease_ids:
                return


def report(lease_id: str) -> work.LeaseReport:
    """What the worker says."""
    happened = [
        events.RunEvent(started=events.RunStarted()),
        events.RunEvent(cached=events.NodesCached()),
        events.RunEvent(executing=events.NodeExecuting(node_id="2", display_node_id="2")),
        events.RunEvent(preview=events.Preview(node_id="2", media_type="image/jpeg", image=b"picture")),
        events.RunEvent(progress=events.NodeProgress(node_id="2", value=1, max=1)),
        events.RunEvent(executed=events.NodeExecuted(node_id="2", display_node_id="2", output_json=b'{"images": []}')),
        events.RunEvent(succeeded=events.RunSucceeded()),
    ]
    outcome = work.RunOutcome(state=events.RUN_STATE_SUCCEEDED, outputs_json=b'{"2": {"images": []}}', meta_json=b"{}")
    return work.LeaseReport(lease_id=lease_id, begun=True, events=happened, outcome=outcome)


def test_a_run_from_submission_to_history(real: Served) -> None:
    real.post_json("/queue", {"clear": True})
    with real.socket("mine") as client:
        first = json.loads(client.recv(timeout=WAIT_S))
        assert first["data"]["sid"] == "mine"
        body = {"prompt": GRAPH, "client_id": "mine", "prompt_id": "my-id", "extra_data": {"note": 1}}
        receipt = real.post_json("/prompt", body)
        assert receipt.json["prompt_id"] == "my-id" and isinstance(receipt.json["number"], int)
        assert real.post_json("/prompt", body).body == receipt.body
        assert real.post_json("/prompt", {**body, "prompt": {**GRAPH, "3": GRAPH["2"]}}).status == 409
        (waiting,) = real.request("GET", "/queue").json["queue_pending"]
        want = [receipt.json["number"], "my-id", GRAPH, {"note": 1, "client_id": "mine"}, ["2"]]
        assert waiting == want
        real.wait_on_loop(work_once(real.settings.front_address))
        kinds: list[str] = []
        while kinds[-1:] != ["end"]:
            kinds.append(kind_of(client.recv(timeout=WAIT_S)))
        entry = real.request("GET", "/history/my-id").json["my-id"]
    told = "status status execution_start execution_cached executing progress preview executed"
    told += " execution_success status end"
    assert " ".join(kinds[-11:]) == told
    assert entry["prompt"] == want and entry["outputs"] == {"2": {"images": []}}
    assert entry["status"]["status_str"] == "success"
    assert [name for name, _ in entry["status"]["messages"]] == [
        *("execution_start", "execution_cached", "execution_success"),
    ]


def test_jobs_and_their_cancellation(real: Served) -> None:
    real.post_json("/queue", {"clear": True})
    extra = {"extra_pnginfo": {"workflow": {"id": "wf-1"}}}
    for name in ("job-1", "job-2", "job-3"):
        assert real.post_json("/prompt", {"prompt": GRAPH, "prompt_id": name, "extra_data": extra}).status == 200
    listed = real.request("GET", "/api/jobs?status=pending&sort_order=asc&limit=2").json
    assert [job["id"] for job in listed["jobs"]] == ["job-1", "job-2"]
    assert listed["pagination"] == {"offset": 0, "limit": 2, "total": 3, "has_more": True}
    assert {job["workflow_id"] for job in listed["jobs"]} == {"wf-1"} and listed["jobs"][0]["create_time"] > 0
    assert real.request("GET", "/api/jobs/job-1").json["workflow"]["prompt"] == GRAPH
    assert real.request("POST", "/api/jobs/job-1/cancel").json == {"cancelled": True}
    assert real.request("POST", "/api/jobs/job-1/cancel").json == {"cancelled": False}
    assert real.post_json("/api/jobs/cancel", {"job_ids": ["job-2", "job-1"]}).status == 404  # job-1 left no trace
    both = real.post_json("/api/jobs/cancel", {"job_ids": ["job-2", "job-3"]}).json
    assert both["cancelled"] and sorted(both["job_ids"]) == ["job-2", "job-3"]
    assert real.request("GET", "/api/jobs?status=pending,in_progress").json["pagination"]["total"] == 0
    assert real.request("GET", "/internal/files/output").json == []


def kind_of(frame: str | bytes) -> str:
    """Type of a message; `end` for the end mark."""
    if isinstance(frame, bytes):
        return "preview"
    message = json.loads(frame)
    if message["type"] == "executing" and message["data"]["node"] is None:
        return "end"
    return str(message["type"])


def test_a_workflow_is_explained_in_both_formats(real: Served) -> None:
    saved = json.loads((REPO / "tests/unit/orchestrator/graph/saved/lora.json").read_text("utf-8"))
    for body in ({"prompt": saved["prompt"]}, saved["prompt"], {"prompt": saved["workflow"]}, saved["workflow"]):
        answer = real.post_json("/explain", body)
        assert answer.status == 200, answer.body
        found = answer.json
        assert {node_id: node["inputs"] for node_id, node in found["prompt"].items()} == {
            node_id: node["inputs"] for node_id, node in saved["prompt"].items()
        }
        assert not found["accepted"] and found["refusal"]["error"]["type"] == "prompt_outputs_failed_validation"
        (missing,) = found["missing_files"]
        assert (missing["folder"], missing["name"]) == ("loras", "synth_lora_a.safetensors")
        assert found["needed"][-1] == "7" and not found["recent"] and not found["missing_nodes"]
    only = {"prompt": {"1": {"class_type": "EmptyImge", "inputs": {}}}}
    assert "EmptyImage" in real.post_json("/explain", only).json["missing_nodes"][0]["nearest"]
    broken = real.post_json("/explain", {"nodes": [5], "links": []})
    assert broken.status == 400 and broken.json["error"]["type"] == "invalid_prompt"
