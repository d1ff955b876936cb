"""An executor whose nodes are told by the prompt what to do, and a catalogue of them: runs without engine or torch.

Node classes: Step (value -> number), Sleep (seconds), Gate (waits until the file `path` exists), Fail, Show (output).
Each begun node appends a line to the file named by `journal`, so that a test sees what ran how often.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from kit.errors import Stopped
from orchestrator.engine import events as ev
from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import Float, Int, Link, Text
from orchestrator.graph.spec import Input, NodeSpec, Output
from orchestrator.runs.events import Body
from orchestrator.runs.records import FreeRequest, Outcome, RunRecord, RunState

_NUMBER = (Output("NUMBER", "NUMBER"),)
_AFTER = Input("after", Link(type="NUMBER"), required=False)

CATALOGUE = Catalogue.of(
    [
        NodeSpec("Step", "test", (Input("value", Int(default=0)), _AFTER), _NUMBER),
        NodeSpec("Sleep", "test", (Input("seconds", Float(default=0.0)), _AFTER), _NUMBER),
        NodeSpec("Gate", "test", (Input("path", Text(default="")), _AFTER), _NUMBER),
        NodeSpec("Fail", "test", (Input("message", Text(default="boom")), _AFTER), _NUMBER),
        NodeSpec("Show", "test", (Input("number", Link(type="NUMBER")),), output_node=True),
    ]
)


def prompt(*steps: tuple[str, dict[str, object]]) -> bytes:
    """A chain of nodes "1", "2" ... and a Show at its end."""
    nodes: dict[str, object] = {}
    for index, (kind, inputs) in enumerate(steps, 1):
        link = {"after": [str(index - 1), 0]} if index > 1 else {}
        nodes[str(index)] = {"class_type": kind, "inputs": {**inputs, **link}}
    nodes["show"] = {"class_type": "Show", "inputs": {"number": [str(len(steps)), 0]}}
    return json.dumps(nodes).encode()


class Scripted:
    """Implements `app.loop.Executor`."""

    def __init__(self, journal: Path | None = None) -> None:
        self.freed: list[FreeRequest] = []
        self._journal = journal

    async def free(self, request: FreeRequest) -> None:
        self.freed.append(request)

    async def execute(self, run: RunRecord, tell: Callable[[Body], None], stop: asyncio.Event) -> Outcome:
        nodes = json.loads(run.prompt_json)
        done: list[str] = []
        tell(ev.Started())
        tell(ev.Cached(()))
        for node_id, node in nodes.items():
            if stop.is_set():
                tell(ev.Interrupted(node_id, node["class_type"], tuple(done)))
                return Outcome(RunState.INTERRUPTED)
            tell(ev.Executing(node_id, node_id))
            self._note(run, node_id)
            try:
                await self._do(node, stop)
            except RuntimeError as problem:
                tell(ev.Failed(node_id, node["class_type"], tuple(done), str(problem), "RuntimeError"))
                return Outcome(RunState.FAILED)
            except Stopped:
                tell(ev.Interrupted(node_id, node["class_type"], tuple(done)))
                return Outcome(RunState.INTERRUPTED)
            done.append(node_id)
        output = {"text": [run.run_id]}
        tell(ev.Executed("show", "show", output))
        tell(ev.Succeeded())
        return Outcome(RunState.SUCCEEDED, json.dumps({"show": output}).encode(), b'{"show": {"node_id": "show"}}')

    async def _do(self, node: dict[str, dict[str, object]], stop: asyncio.Event) -> None:
        kind, inputs = node["class_type"], node["inputs"]
        if kind == "Fail":
            raise RuntimeError(str(inputs["message"]))
        if kind == "Sleep":
            await self._wait(lambda: False, stop, float(str(inputs["seconds"])))
        if kind == "Gate":
            await self._wait(Path(str(inputs["path"])).exists, stop, 30.0)

    async def _wait(self, ready: Callable[[], bool], stop: asyncio.Event, limit_s: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + limit_s
        while not ready() and loop.time() < end:
            if stop.is_set():
                raise Stopped("stopped")
            await asyncio.sleep(0.005)

    def _note(self, run: RunRecord, node_id: str) -> None:
        if self._journal is not None:
            with self._journal.open("a") as stream:
                stream.write(f"{run.run_id} {run.attempts} {node_id} {os.getpid()} {time.monotonic_ns()}\n")
