"""RunService over a real server, with a worker whose nodes are scripted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from heliograph.graph.v1 import event_pb2
from heliograph.graph.v1 import run_service_pb2 as pb

from kit.errors import Busy, Conflict, HeliographError, InvalidPrompt, InvalidRequest, NotFound, Unready
from kit.status import from_rpc_error
from tests.support.fronts import running_front, running_worker
from tests.support.scripted import prompt

SIMPLE = prompt(("Step", {"value": 1}))


async def failure(call: Any) -> HeliographError:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def kinds(events: list[Any]) -> list[str]:
    return [event.WhichOneof("event") for event in events]


async def test_events_come_in_bursts_to_whom_asks(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front, running_worker(front):
        receipt = await front.submit(SIMPLE)
        await front.ended(receipt.run_id)
        single = front.runs.WatchRuns(pb.WatchRunsRequest(epoch="an earlier front"))
        seen = [(await single.read()).event for _ in range(10)]
        burst = await front.runs.WatchRuns(pb.WatchRunsRequest(epoch="an earlier front", bursts=True)).read()
        assert list(burst.events) == seen
        assert not burst.HasField("event")


async def test_a_run_from_submission_to_history(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front, running_worker(front):
        watch = front.runs.WatchRuns(pb.WatchRunsRequest())
        await front.runs.ListQueue(pb.ListQueueRequest())  # the watch is there before the run is
        receipt = await front.submit(SIMPLE, client_id="me", extra_data_json=b'{"extra_pnginfo": {"workflow": {}}}')
        assert (receipt.number, receipt.number_given, receipt.node_errors_json) == (0.0, False, b"{}")
        seen: list[Any] = []
        async for answer in watch:
            seen.append(answer.event)
            if answer.event.WhichOneof("event") == "ended":
                break
        assert kinds(seen) == [
            "queue_changed", "queue_changed", "started", "cached", "executing", "executing", "executed", "succeeded",
            "queue_changed", "ended",
        ]  # fmt: skip
        assert [event.sequence for event in seen] == list(range(1, 11))
        assert [e.queue_changed.remaining for e in seen if e.HasField("queue_changed")] == [1, 1, 0]
        assert {event.client_id for event in seen if event.run_id} == {"me"}
        (run,) = await front.history()
        assert run.run_id == receipt.run_id and run.state == event_pb2.RUN_STATE_SUCCEEDED and run.attempts == 1
        assert json.loads(run.outputs_json) == {"show": {"text": [run.run_id]}}
        assert json.loads(run.extra_data_json) == {"extra_pnginfo": {"workflow": {}}, "client_id": "me"}
        messages = json.loads(run.messages_json)
        assert [name for name, _ in messages] == ["execution_start", "execution_cached", "execution_success"]
        assert messages[0][1]["timestamp"] == seen[2].timestamp_ms
        assert run.created_ms <= run.started_ms <= run.ended_ms
        queue = await front.runs.ListQueue(pb.ListQueueRequest())
        assert not queue.running and not queue.pending


async def test_history_exists_when_the_run_is_said_to_have_ended(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front, running_worker(front):
        for _ in range(20):
            receipt = await front.submit(SIMPLE)
            events = await front.ended(receipt.run_id)
            assert kinds(events)[-2:] == ["succeeded", "ended"]
            assert (await front.history())[-1].run_id == receipt.run_id


async def test_watching_a_finished_run_replays_what_is_stored(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front, running_worker(front):
        good = (await front.submit(SIMPLE)).run_id
        bad = (await front.submit(prompt(("Fail", {"message": "too bad"})))).run_id
        live = await front.ended(bad)
        await front.ended(good)
        assert kinds(await front.ended(good)) == ["started", "cached", "executed", "succeeded", "ended"]
        replayed = await front.ended(bad)
        assert kinds(replayed) == ["started", "cached", "failed", "ended"]
        assert replayed[2].failed == next(event.failed for event in live if event.HasField("failed"))
        assert replayed[3].ended.state == event_pb2.RUN_STATE_FAILED
        assert isinstance(await failure(front.ended("unknown")), NotFound)


async def test_numbers_decide_the_order(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running_front(tmp_path) as front:
        first = await front.submit(prompt(("Gate", {"path": str(gate)})))
        async with running_worker(front):
            while not (await front.runs.ListQueue(pb.ListQueueRequest())).running:
                await asyncio.sleep(0.005)
            plain = await front.submit(SIMPLE)
            ahead = await front.submit(SIMPLE, front=True)
            given = await front.submit(SIMPLE, number=0.5)
            refused = await failure(front.submit(b'{"1": {"class_type": "Nope", "inputs": {}}}'))
            last = await front.submit(SIMPLE)
            assert isinstance(refused, InvalidPrompt)
            assert [plain.number, ahead.number, given.number, last.number] == [1.0, -2.0, 0.5, 4.0]
            assert given.number_given and not ahead.number_given
            queue = await front.runs.ListQueue(pb.ListQueueRequest())
            assert [run.run_id for run in queue.running] == [first.run_id]
            expected = [ahead.run_id, given.run_id, plain.run_id, last.run_id]
            assert [run.run_id for run in queue.pending] == expected
            counts = await front.runs.ListQueue(pb.ListQueueRequest(counts_only=True))
            assert (counts.running_count, counts.pending_count, len(counts.running), len(counts.pending)) == (
                1,
                4,
                0,
                0,
            )
            assert (queue.running_count, queue.pending_count) == (1, 4)
            gate.touch()
            await front.ended(last.run_id)
            assert [run.run_id for run in await front.history()] == [first.run_id, *expected]


async def test_refusals_carry_comfyuis_answer(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        missing = await failure(front.submit(b""))
        assert isinstance(missing, InvalidPrompt) and missing.body is not None
        assert missing.body["error"]["type"] == "no_prompt"  # type: ignore[index]
        no_outputs = await failure(front.submit(b'{"1": {"class_type": "Step", "inputs": {"value": 1}}}'))
        assert isinstance(no_outputs, InvalidPrompt) and no_outputs.body is not None
        assert no_outputs.body["error"]["type"] == "prompt_no_outputs"  # type: ignore[index]
        nothing = await failure(front.submit(SIMPLE, targets_given=True))
        assert isinstance(nothing, InvalidPrompt) and nothing.reason == "PROMPT_NO_OUTPUTS"
        assert isinstance(await failure(front.submit(b"{")), InvalidPrompt)
        assert isinstance(await failure(front.submit(SIMPLE, extra_data_json=b"[1]")), InvalidRequest)
        assert isinstance(await failure(front.submit(SIMPLE, number=float("nan"))), InvalidRequest)
        assert not (await front.runs.ListQueue(pb.ListQueueRequest())).pending


async def test_a_repeated_submission_gets_the_first_receipt(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        first = await front.submit(SIMPLE, prompt_id="mine")
        twins = await asyncio.gather(*(front.submit(SIMPLE, prompt_id="mine") for _ in range(5)))
        assert all(twin == first for twin in twins)
        other = await failure(front.submit(prompt(("Step", {"value": 2})), prompt_id="mine"))
        assert isinstance(other, Conflict) and other.reason == "PROMPT_ID_TAKEN"
        async with running_worker(front):
            await front.ended("mine")
            assert await front.submit(SIMPLE, prompt_id="mine") == first
        assert isinstance(await failure(front.submit(SIMPLE, prompt_id="mine", front=True)), Conflict)
        assert len(await front.history()) == 1


async def test_twins_at_once_run_once(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        receipts = await asyncio.gather(*(front.submit(SIMPLE, prompt_id="twin") for _ in range(20)))
        assert len({receipt.SerializeToString() for receipt in receipts}) == 1
        assert len((await front.runs.ListQueue(pb.ListQueueRequest())).pending) == 1


async def test_a_full_queue_says_so(tmp_path: Path) -> None:
    async with running_front(tmp_path, queue_limit=2) as front:
        await front.submit(SIMPLE)
        await front.submit(SIMPLE)
        full = await failure(front.submit(SIMPLE))
        assert isinstance(full, Busy) and (full.reason, full.facts["limit"]) == ("QUEUE_FULL", "2")


async def test_pending_runs_can_be_removed(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        ids = [(await front.submit(SIMPLE)).run_id for _ in range(4)]
        watch = asyncio.ensure_future(front.ended(ids[0]))
        await front.runs.ListQueue(pb.ListQueueRequest())
        deleted = await front.runs.DeletePending(pb.DeletePendingRequest(run_ids=[ids[0], "unknown"]))
        assert deleted.deleted == 1
        assert kinds(await watch) == ["ended"]
        stopped = await front.runs.CancelRun(pb.CancelRunRequest(run_ids=[ids[1]], include_pending=True))
        assert list(stopped.run_ids) == [ids[1]]
        assert not (await front.runs.CancelRun(pb.CancelRunRequest(run_ids=[ids[2]]))).run_ids
        queue = await front.runs.ListQueue(pb.ListQueueRequest())
        assert [run.run_id for run in queue.pending] == ids[2:]
        assert (await front.runs.DeletePending(pb.DeletePendingRequest(all=True))).deleted == 2
        assert not await front.history()
        assert isinstance(await failure(front.run(ids[3])), NotFound)


async def test_a_running_run_is_stopped_by_id_or_with_all(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front, running_worker(front):
        for ids in (None, ()):
            run_id = (await front.submit(prompt(("Sleep", {"seconds": 30.0})))).run_id
            async for answer in front.runs.WatchRun(pb.WatchRunRequest(run_id=run_id)):
                if answer.event.HasField("executing"):
                    named = [run_id] if ids is None else []
                    stopped = await front.runs.CancelRun(pb.CancelRunRequest(run_ids=named))
                    assert list(stopped.run_ids) == [run_id]
            run = await front.run(run_id)
            assert run.state == event_pb2.RUN_STATE_INTERRUPTED
            (name, data) = json.loads(run.messages_json)[-1]
            assert name == "execution_interrupted" and data["node_type"] == "Sleep" and data["executed"] == []
        assert not (await front.runs.CancelRun(pb.CancelRunRequest())).run_ids


async def test_history_pages_and_deletion(tmp_path: Path) -> None:
    async with running_front(tmp_path, history_limit=4) as front, running_worker(front):
        ids = [(await front.submit(SIMPLE)).run_id for _ in range(5)]
        await front.ended(ids[-1])

        async def page(**fields: int) -> list[str]:
            answer = await front.runs.ListHistory(pb.ListHistoryRequest(**fields))
            return [run.run_id for run in answer.runs]

        kept = ids[1:]
        assert await page() == kept
        assert await page(max_items=2) == kept[-2:]
        assert await page(max_items=2, offset=0) == kept[:2]
        assert await page(offset=3) == kept[3:]
        assert await page(max_items=2, offset=-1) == kept[-2:]
        assert await page(max_items=0) == [] == await page(offset=9)
        assert isinstance(await failure(front.run(ids[0])), NotFound)
        deletion = pb.DeleteHistoryRequest(run_ids=[kept[1], "unknown"])
        assert (await front.runs.DeleteHistory(deletion)).deleted == 1
        assert await page() == [kept[0], *kept[2:]]
        assert (await front.runs.DeleteHistory(pb.DeleteHistoryRequest(all=True))).deleted == 3
        assert await page() == []


async def test_credentials_do_not_reach_history(tmp_path: Path) -> None:
    secret = b'{"api_key_comfy_org": "s3cret", "auth_token_comfy_org": "t0ken", "keep": 1}'
    async with running_front(tmp_path) as front:
        run_id = (await front.submit(SIMPLE, extra_data_json=secret)).run_id
        assert b"s3cret" in (await front.run(run_id)).extra_data_json
        async with running_worker(front):
            await front.ended(run_id)
        assert json.loads((await front.run(run_id)).extra_data_json) == {"keep": 1}
    assert not any(b"s3cret" in part.read_bytes() for part in tmp_path.glob("heliograph.db"))


async def test_what_was_accepted_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        pending = await front.submit(SIMPLE, prompt_id="p", client_id="c")
        async with running_worker(front):
            await front.ended("p")
        waiting = await front.submit(SIMPLE, prompt_id="q")
    async with running_front(tmp_path) as front:
        assert [run.run_id for run in await front.history()] == ["p"]
        assert [run.run_id for run in (await front.runs.ListQueue(pb.ListQueueRequest())).pending] == ["q"]
        assert await front.submit(SIMPLE, prompt_id="p", client_id="c") == pending
        assert await front.submit(SIMPLE, prompt_id="q") == waiting
        assert (await front.submit(SIMPLE)).number == 2.0 + 2  # repetitions are submissions too
        async with running_worker(front):
            await front.ended("q")


async def test_watchers_continue_where_they_were(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front, running_worker(front):
        watch = front.runs.WatchRuns(pb.WatchRunsRequest())
        await front.runs.ListQueue(pb.ListQueueRequest())
        await front.ended((await front.submit(SIMPLE)).run_id)
        first = (await watch.read()).event
        watch.cancel()
        again = front.runs.WatchRuns(pb.WatchRunsRequest(after_sequence=first.sequence + 2, epoch=first.epoch))
        assert (await again.read()).event.sequence == first.sequence + 3
        again.cancel()
        stranger = front.runs.WatchRuns(pb.WatchRunsRequest(after_sequence=500, epoch="an earlier front"))
        assert (await stranger.read()).event == first
        stranger.cancel()


async def test_system_and_memory(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        assert (await front.runs.GetSystem(pb.GetSystemRequest())).workers == 0
        async with running_worker(front) as executor:
            while (answer := await front.runs.GetSystem(pb.GetSystemRequest())).workers != 1:
                await asyncio.sleep(0.005)
            facts = json.loads(answer.system_json)
            assert facts["ram_total"] > facts["ram_free"] > 0 and facts["pytorch_version"]
            error = await failure(front.runs.FreeMemory(pb.FreeMemoryRequest(unload_models=True)))
            assert isinstance(error, Unready)  # the model service is down, the worker is told all the same
            await front.ended((await front.submit(SIMPLE)).run_id)
            assert [request.unload_models for request in executor.freed] == [True]


async def test_node_types(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        answer = await front.runs.ListNodeTypes(pb.ListNodeTypesRequest())
        assert list(json.loads(answer.object_info_json)) == ["Step", "Sleep", "Gate", "Fail", "Show"]
        answer = await front.runs.ListNodeTypes(pb.ListNodeTypesRequest(node_type="Step"))
        assert list(json.loads(answer.object_info_json)) == ["Step"]
        answer = await front.runs.ListNodeTypes(pb.ListNodeTypesRequest(node_type="Nope"))
        assert answer.object_info_json == b"{}"


async def test_two_fronts_do_not_share_a_folder(tmp_path: Path) -> None:
    async with running_front(tmp_path):
        with pytest.raises(Conflict) as caught:
            async with running_front(tmp_path):
                pass
        assert caught.value.reason == "STORE_TAKEN"


async def test_a_stopping_front_ends_watches(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        run_id = (await front.submit(SIMPLE)).run_id
        watches = [asyncio.ensure_future(front.ended(run_id))]
        watches.append(asyncio.ensure_future(front.runs.WatchRuns(pb.WatchRunsRequest()).read()))
        await front.runs.ListQueue(pb.ListQueueRequest())
        front.front.runs.stop_watching()
        for watch in watches:
            error = await failure(watch)
            assert isinstance(error, Unready) and error.reason == "STOPPING"
