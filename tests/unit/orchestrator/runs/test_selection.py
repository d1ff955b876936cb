"""Selections of the history: filtered, ordered and cut by the store, without what was submitted."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.runs.records import HistoryOrder, Outcome, RunState, Selection
from orchestrator.runs.runs import Runs
from tests.support.runs import Hand, open_runs, record

STATES = (RunState.SUCCEEDED, RunState.FAILED, RunState.INTERRUPTED)


def extra(number: int) -> bytes:
    """Every third run has a workflow id, others something odd or nothing."""
    if number % 3 == 0:
        return json.dumps({"extra_pnginfo": {"workflow": {"id": f"wf-{number}"}}}).encode()
    return b"[]" if number % 3 == 1 else b'{"extra_pnginfo": {"workflow": {"id": 5}}, "x": NaN}'


async def fill(runs: Runs, count: int) -> None:
    hand = Hand(runs)
    for number in range(count):
        await runs.submit(record(f"r{number}", created_ms=100 - number, prompt_json=b'{"1": {}}',
                                 extra_data_json=extra(number)))  # fmt: skip
        await hand.end((await hand.lease()).lease_id, Outcome(STATES[number % 3], b'{"9": {}}'))


async def test_selections(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        await fill(runs, 9)

        async def ids(selection: Selection, limit: int | None = None, offset: int | None = None) -> str:
            found, total = await runs.history.select(selection, limit, offset)
            return f"{' '.join(run.run_id[1:] for run in found)} of {total}"

        created = Selection(order=HistoryOrder.CREATED)
        assert await ids(Selection()) == "0 1 2 3 4 5 6 7 8 of 9"
        assert await ids(Selection(descending=True), 2) == "8 7 of 9"
        assert await ids(created, 3, 1) == "7 6 5 of 9"
        assert await ids(Selection((RunState.FAILED, RunState.INTERRUPTED)), 3, 1) == "2 4 5 of 6"
        assert await ids(Selection(workflow_id="wf-3")) == "3 of 1"
        assert await ids(Selection(workflow_id="5")) == " of 0"
        assert await ids(Selection(), None, 8) == "8 of 9"
        assert await ids(Selection(), 5, 99) == " of 9"
        found, _ = await runs.history.select(created, None, None)
        assert [run.workflow_id for run in found[:3]] == ["", "", "wf-6"]
        assert all(not run.prompt_json and not run.extra_data_json for run in found)
        assert found[0].outputs_json == b'{"9": {}}' and found[0].state is RunState.INTERRUPTED
