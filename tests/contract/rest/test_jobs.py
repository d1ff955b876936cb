"""Jobs as newer clients ask for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from heliograph.graph.v1 import event_pb2 as events
from heliograph.graph.v1 import run_service_pb2 as graph

from tests.contract.rest.served import Served

OUTPUTS = {
    "3": {"images": [{"filename": "t.png", "subfolder": "", "type": "temp"}], "animated": [False]},
    "9": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}, "odd", None], "text": ["5"]},
    "11": {"x": {"not": "a list"}, "files": [{"filename": "m.GLB", "type": "output"}]},
    "12": "odd",
}
ERROR = {"prompt_id": "bad", "node_id": "7", "exception_message": "no\n"}


def run(run_id: str, state: int, created: int, **more: Any) -> graph.Run:
    """A stored run."""
    extra = {"extra_pnginfo": {"workflow": {"id": f"wf-{run_id}"}}, "client_id": "c"}
    fields = {"extra_data_json": json.dumps(extra).encode(), "prompt_json": b'{"1": {"class_type": "A"}}'}
    return graph.Run(run_id=run_id, number=created, state=state, created_ms=created, **(fields | more))  # type: ignore[arg-type]


@pytest.fixture
def busy(served: Served) -> Served:
    """With runs in every state."""
    backend = served.backend
    backend.pending += [run("wait-1", events.RUN_STATE_PENDING, 50), run("wait-2", events.RUN_STATE_PENDING, 60)]
    backend.running.append(run("now", events.RUN_STATE_RUNNING, 40, started_ms=45))
    told = json.dumps([["execution_start", {}], ["execution_error", ERROR]]).encode()
    backend.history += [
        run(
            "done",
            events.RUN_STATE_SUCCEEDED,
            10,
            started_ms=11,
            ended_ms=19,
            outputs_json=json.dumps(OUTPUTS).encode(),
        ),
        run("bad", events.RUN_STATE_FAILED, 20, started_ms=21, ended_ms=23, messages_json=told),
        run("stopped", events.RUN_STATE_INTERRUPTED, 30, started_ms=31, ended_ms=32, extra_data_json=b"[]"),
    ]
    return served


def ids(served: Served, query: str = "") -> list[str]:
    """Ids in the answer's order."""
    answer = served.request("GET", f"/api/jobs{query}")
    assert answer.status == 200, answer
    return [job["id"] for job in answer.json["jobs"]]


def test_all_jobs(busy: Served) -> None:
    answer = busy.request("GET", "/api/jobs").json
    assert [(job["id"], job["status"]) for job in answer["jobs"]] == [
        ("wait-2", "pending"),
        ("wait-1", "pending"),
        ("now", "in_progress"),
        ("stopped", "cancelled"),
        ("bad", "failed"),
        ("done", "completed"),
    ]
    assert answer["pagination"] == {"offset": 0, "limit": None, "total": 6, "has_more": False}
    assert answer["jobs"][-1] == {
        "id": "done",
        "status": "completed",
        "priority": 10,
        "create_time": 10,
        "execution_start_time": 11,
        "execution_end_time": 19,
        "outputs_count": 3,
        "preview_output": {
            "filename": "a.png",
            "subfolder": "",
            "type": "output",
            "nodeId": "9",
            "mediaType": "images",
        },
        "workflow_id": "wf-done",
    }
    assert answer["jobs"][-2]["execution_error"] == ERROR
    assert "workflow_id" not in answer["jobs"][3] and "execution_end_time" not in answer["jobs"][2]


def test_parts_orders_and_filters(busy: Served) -> None:
    assert ids(busy, "?status=failed,Cancelled") == ["stopped", "bad"]
    assert ids(busy, "?status=pending&sort_order=asc") == ["wait-1", "wait-2"]
    assert ids(busy, "?sort_by=execution_duration&status=completed,failed,cancelled") == ["done", "bad", "stopped"]
    assert ids(busy, "?workflow_id=wf-bad") == ["bad"]
    assert ids(busy, "?limit=2&offset=1") == ["wait-1", "now"]
    assert ids(busy, "?offset=-5&limit=1") == ["wait-2"]
    assert ids(busy, "?offset=99") == []
    part = busy.request("GET", "/api/jobs?limit=2&offset=3").json["pagination"]
    assert part == {"offset": 3, "limit": 2, "total": 6, "has_more": True}


def test_only_what_is_needed_is_asked_for(busy: Served) -> None:
    ids(busy, "?status=pending")
    assert not busy.backend.called("ListHistory")
    ids(busy, "?status=completed")
    assert len(busy.backend.called("ListQueue")) == 1


@pytest.mark.parametrize(
    "query",
    ["status=nope", "status=pending,<b>", "limit=0", "limit=-1", "limit=x", "offset=x", "sort_by=id", "sort_order=up"],
)
def test_queries_that_make_no_sense(query: str, busy: Served) -> None:
    answer = busy.request("GET", f"/api/jobs?{query}")
    assert answer.status == 400 and set(answer.json) == {"error"}


def test_long_histories_are_read_in_pages(served: Served) -> None:
    served.backend.history += [run(f"r{index}", events.RUN_STATE_SUCCEEDED, index + 1) for index in range(150)]
    served.backend.page_limit = 40
    assert ids(served, "?limit=2") == ["r149", "r148"]
    assert ids(served, "?sort_order=asc&limit=2&offset=100") == ["r100", "r101"]


def test_no_prompts_and_only_the_part_are_asked_for(busy: Served) -> None:
    assert ids(busy, "?status=completed,failed&limit=1&offset=1") == ["done"]
    (request,) = busy.backend.called("ListHistory")
    assert (request.offset, request.max_items, request.HasField("selection")) == (1, 1, True)
    ids(busy)
    assert busy.backend.called("ListQueue")[0].without_prompts
    assert all(request.HasField("selection") for request in busy.backend.called("ListHistory"))


def test_one_job(busy: Served) -> None:
    job = busy.request("GET", "/api/jobs/done").json
    assert job["outputs"] == OUTPUTS and job["status"] == "completed"
    assert job["workflow"]["prompt"] == {"1": {"class_type": "A"}}
    assert job["execution_status"] == {"status_str": "success", "completed": True, "messages": []}
    assert busy.request("GET", "/api/jobs/bad").json["execution_status"]["status_str"] == "error"
    assert "execution_status" not in busy.request("GET", "/api/jobs/now").json
    for path in ("nope", "..%2Fqueue", "%00"):
        missing = busy.request("GET", f"/api/jobs/{path}")
        assert (missing.status, set(missing.json)) == (404, {"error"})
    assert busy.request("GET", "/jobs").status == 404


def test_cancelling_one_is_idempotent(busy: Served) -> None:
    assert busy.request("POST", "/api/jobs/wait-1/cancel").json == {"cancelled": True}
    assert busy.request("POST", "/api/jobs/wait-1/cancel").json == {"cancelled": False}
    assert busy.request("POST", "/api/jobs/now/cancel", b"ignored").json == {"cancelled": True}
    for run_id in ("done", "nope", "a%2Fb"):
        answer = busy.request("POST", f"/api/jobs/{run_id}/cancel")
        assert (answer.status, answer.json) == (200, {"cancelled": False})
    assert all(list(request.run_ids) for request in busy.backend.called("CancelRun"))  # never everything


def test_cancelling_several_is_all_or_nothing(busy: Served) -> None:
    answer = busy.post_json("/api/jobs/cancel", {"job_ids": ["wait-1", "nope", "done"]})
    assert (answer.status, answer.json["job_ids"]) == (404, ["nope"])
    assert not busy.backend.called("CancelRun")
    for _ in range(2):
        answer = busy.post_json("/api/jobs/cancel", {"job_ids": ["now", "done", "now"]})
        assert (answer.status, answer.json) == (200, {"cancelled": True, "job_ids": ["now"]})
    assert busy.post_json("/api/jobs/cancel", {"job_ids": ["done"]}).json == {"cancelled": False, "job_ids": []}


@pytest.mark.parametrize(
    "body", [None, {}, [], {"job_ids": []}, {"job_ids": "now"}, {"job_ids": [5]}, {"job_ids": [""]}]
)
def test_cancelling_nothing_in_particular(body: object, busy: Served) -> None:
    answer = busy.post_json("/api/jobs/cancel", body)
    assert answer.status == 400 and not busy.backend.called("CancelRun")
    assert busy.request("POST", "/api/jobs/cancel", b"{").status == 400
    assert busy.post_json("/api/jobs/cancel", {"job_ids": [str(i) for i in range(300)]}).status == 400
