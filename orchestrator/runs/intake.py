"""From a caller's JSON to an accepted run: parse, recognise repetitions, validate against fresh lists, store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from kit.errors import InvalidPrompt, InvalidRequest
from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import Lists, OneOf
from orchestrator.graph.problems import Problem
from orchestrator.graph.prompt import Graph, parse
from orchestrator.graph.ui_format import is_ui_format, prompt_of
from orchestrator.graph.validate import NO_PROMPT, Validation, validate
from orchestrator.runs.explain import Explanation, explain, model_files
from orchestrator.runs.own_checks import NodeSource, own_problems
from orchestrator.runs.records import Receipt, RunRecord, SubmitRequest
from orchestrator.runs.runs import Runs

_INLINE_BYTES = 64 * 1024  # larger prompts are read in a thread, so that they hold nobody else up
_ID_BYTES = 512
_LISTS_AGE_S = 30.0


class ListSource(Protocol):
    """Where names that are known only at run time come from."""

    async def snapshot(self, folders: Collection[str], max_age_s: float) -> Lists:
        """Lists of these model folders, none older than `max_age_s`. Raises Unready."""

    def size(self, folder: str, name: str) -> int:
        """Bytes of a listed model file; 0: it is not listed."""


class Intake:
    """One per front."""

    def __init__(self, runs: Runs, nodes: NodeSource, lists: ListSource, now_ms: Callable[[], int]) -> None:
        self._runs = runs
        self._nodes = nodes
        self._lists = lists
        self._now_ms = now_ms

    async def submit(self, request: SubmitRequest) -> Receipt:
        """Durable when it returns; the same id and body again give the first receipt.

        Raises InvalidPrompt (body: ComfyUI's answer), InvalidRequest, Conflict (PROMPT_ID_TAKEN), Busy, Unready.
        """
        number = self._number(request)  # ComfyUI's counter advances for refused prompts too
        if not request.prompt_json:
            raise InvalidPrompt("no prompt was given", reason="NO_PROMPT", body=dict(NO_PROMPT))
        big = len(request.prompt_json) > _INLINE_BYTES
        graph = await asyncio.to_thread(parse, request.prompt_json) if big else parse(request.prompt_json)
        extra = _extra_data(request)
        if len(request.prompt_id.encode()) > _ID_BYTES:
            raise InvalidRequest("the prompt id is too long", reason="PROMPT_ID", limit_bytes=_ID_BYTES)
        body_hash = _body_hash(request, graph, extra)
        if request.prompt_id and (known := await self._runs.repeated(request.prompt_id, body_hash)) is not None:
            return known
        self._runs.check_room(len(request.prompt_json) + len(extra))
        found = await self._validated(graph, request.targets, big)
        if request.prompt_id and (known := await self._runs.repeated(request.prompt_id, body_hash)) is not None:
            return known  # its twin was accepted while this one was validated
        return await self._runs.submit(
            RunRecord(
                run_id=request.prompt_id or str(uuid.uuid4()),
                order=0,
                number=number,
                number_given=request.number is not None,
                prompt_json=json.dumps(found.graph.as_json()).encode(),
                extra_data_json=extra,
                client_id=request.client_id,
                outputs_to_execute=found.outputs,
                node_errors_json=json.dumps(dict(found.node_errors)).encode(),
                body_hash=body_hash,
                created_ms=self._now_ms(),
            )
        )

    async def explain(self, workflow_json: bytes, targets: tuple[str, ...] | None) -> tuple[Explanation, int]:
        """What a workflow, in API format or as the web UI saves it, would do; and the bytes of its model files.

        Raises InvalidPrompt, Unsupported (UI_SUBGRAPH), Unready.
        """
        catalogue = self._nodes.catalogue()
        graph = await asyncio.to_thread(_any_format, workflow_json, catalogue)
        lists = await self._lists.snapshot(_folders(graph, catalogue), 0.0)

        def work() -> tuple[Explanation, int]:
            found = validate(graph, catalogue, lists, targets)
            files = model_files(graph, catalogue)
            size = sum(self._lists.size(folder, name) for folder, name in files)
            return explain(graph, found, catalogue, lists, self._runs.measured), size

        return await asyncio.to_thread(work)

    def _number(self, request: SubmitRequest) -> float:
        if request.number is not None:
            if not math.isfinite(request.number):
                raise InvalidRequest("number must be finite", reason="NUMBER", number=request.number)
            return request.number
        number, self._runs.counter = self._runs.counter, self._runs.counter + 1
        return float(-number if request.front else number)

    async def _validated(self, graph: Graph, targets: tuple[str, ...] | None, big: bool) -> Validation:
        """Remembered lists may accept (a file that left meanwhile fails when it is read) but never refuse."""
        catalogue = self._nodes.catalogue()
        folders = _folders(graph, catalogue)

        async def check(max_age_s: float, custom: Mapping[str, Sequence[Problem]]) -> Validation:
            lists = await self._lists.snapshot(folders, max_age_s)
            if big:
                return await asyncio.to_thread(validate, graph, catalogue, lists, targets, custom)
            return validate(graph, catalogue, lists, targets, custom)

        found = await check(_LISTS_AGE_S, {})
        custom = await own_problems(found, catalogue, self._nodes)
        if folders and (found.node_errors or not found.ok):
            found = await check(0.0, custom)
        elif custom:
            found = await check(_LISTS_AGE_S, custom)
        if not found.ok:
            error = found.error or {}
            raise InvalidPrompt(str(error.get("message")), reason=str(error.get("type")).upper(), body={**found.body()})
        return found


def _folders(graph: Graph, catalogue: Catalogue) -> set[str]:
    specs = (catalogue.get(node.class_type or "") for node in graph.nodes.values())
    kinds = (item.kind for spec in specs if spec is not None for item in spec.inputs)
    return {kind.folder for kind in kinds if isinstance(kind, OneOf) and kind.folder}


def _any_format(workflow_json: bytes, catalogue: Catalogue) -> Graph:
    try:
        data = json.loads(workflow_json)
    except (ValueError, RecursionError):
        data = None  # `parse` says what is wrong
    if not is_ui_format(data):
        return parse(workflow_json)
    return parse(json.dumps(prompt_of(data, catalogue)))


def _extra_data(request: SubmitRequest) -> bytes:
    """extra_data with client_id, as JSON object."""
    try:
        extra = json.loads(request.extra_data_json or b"{}")
    except (ValueError, RecursionError) as problem:
        raise InvalidRequest("extra_data is not JSON", reason="EXTRA_DATA") from problem
    if not isinstance(extra, dict):
        raise InvalidRequest("extra_data is not a JSON object", reason="EXTRA_DATA")
    if request.client_id:
        extra["client_id"] = request.client_id
    return json.dumps(extra).encode()


def _body_hash(request: SubmitRequest, graph: Graph, extra: bytes) -> bytes:
    rest = json.dumps([request.client_id, request.number, request.front, request.targets]).encode()
    digest = hashlib.blake2b(digest_size=16)
    for part in (graph.canonical(), extra, rest):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
