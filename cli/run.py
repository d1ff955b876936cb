"""`heliograph run`: submit a workflow over gRPC, show progress, download the files."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import grpc
from heliograph.artifact.v1 import artifact_service_pb2 as artifact
from heliograph.artifact.v1 import artifact_service_pb2_grpc as artifact_grpc
from heliograph.graph.v1 import event_pb2 as event
from heliograph.graph.v1 import run_service_pb2 as runs
from heliograph.graph.v1 import run_service_pb2_grpc as runs_grpc
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from kit.errors import InvalidPrompt, InvalidRequest, Unready
from kit.serve import channel_options
from kit.status import from_rpc_error

CALL_DEADLINE_S = 30.0
DOWNLOAD_DEADLINE_S = 600.0


def run_workflow(path: Path, changes: list[str], out: Path, *, server: str, timeout_s: float) -> int:
    """Run one workflow to its end. Returns 0 when it succeeded, 1 when it failed, 130 when it was stopped."""
    prompt = apply_changes(read_prompt(path), changes)
    console = Console(stderr=True)
    with grpc.insecure_channel(server, options=channel_options()) as channel:
        run_service = runs_grpc.RunServiceStub(channel)
        try:
            receipt = _submit(run_service, prompt, path.name)
            _warn_of_left_out(console, receipt.node_errors_json)
            state = _follow(run_service, receipt.run_id, prompt, console, timeout_s)
            outputs = json.loads(
                run_service.GetRun(runs.GetRunRequest(run_id=receipt.run_id), timeout=CALL_DEADLINE_S).run.outputs_json
                or b"{}"
            )
            for saved in _download(artifact_grpc.ArtifactServiceStub(channel), outputs, out):
                print(saved)
        except grpc.RpcError as error:
            typed = from_rpc_error(error)
            if isinstance(typed, InvalidPrompt) and typed.body:
                _print_problems(console, typed.body)
                return 1
            if isinstance(typed, Unready):
                raise Unready("no Heliograph answers there: start it with `heliograph up`", server=server) from error
            raise typed from error
    return 0 if state == event.RUN_STATE_SUCCEEDED else 130 if state == event.RUN_STATE_INTERRUPTED else 1


def read_prompt(path: Path) -> dict[str, Any]:
    """The API-format prompt of a JSON file, or the one that a picture of ours carries."""
    try:
        if path.suffix.lower() == ".png":
            from PIL import Image

            with Image.open(path) as picture:
                prompt = json.loads(getattr(picture, "text", {})["prompt"])
        else:
            prompt = json.loads(path.read_text("utf-8"))
    except (ValueError, KeyError, OSError) as error:
        raise InvalidRequest("the file holds no workflow in API format", file=path, problem=error) from error
    if isinstance(prompt, dict) and isinstance(prompt.get("nodes"), list):
        raise InvalidRequest("this is the web UI's format; save it with 'Export (API)' instead", file=path)
    if not isinstance(prompt, dict):
        raise InvalidRequest("a workflow is a JSON object of nodes", file=path)
    return prompt


def apply_changes(prompt: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """`prompt` with every NODE.INPUT=VALUE set; VALUE is JSON where it parses, else text."""
    changed: dict[str, Any] = json.loads(json.dumps(prompt))
    for change in changes:
        target, found, text = change.partition("=")
        node, dot, name = target.partition(".")
        if not (found and dot and name):
            raise InvalidRequest("--set takes NODE.INPUT=VALUE", got=change)
        if node not in changed or not isinstance(changed[node].get("inputs"), dict):
            raise InvalidRequest("no such node in the workflow", node=node, nodes=" ".join(sorted(changed)))
        changed[node]["inputs"][name] = _typed(text, changed[node]["inputs"].get(name))
    return changed


def _typed(text: str, present: object) -> object:
    """`text` as the kind of value that stands there now: a text stays a text even if it looks like a number."""
    if isinstance(present, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _submit(run_service: Any, prompt: dict[str, Any], name: str) -> runs.SubmitRunResponse:
    request = runs.SubmitRunRequest(
        prompt_json=json.dumps(prompt).encode(), extra_data_json=json.dumps({"source": name}).encode()
    )
    response: runs.SubmitRunResponse = run_service.SubmitRun(request, timeout=CALL_DEADLINE_S)
    return response


@contextmanager
def _cancel_on_interrupt(run_service: Any, run_id: str, console: Console) -> Iterator[None]:
    """Ctrl-C cancels this run only; a second one gives up waiting for it."""

    def cancel(_signal: int, _frame: object) -> None:
        console.print("cancelling; press Ctrl-C again to stop waiting")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run_service.CancelRun(runs.CancelRunRequest(run_ids=[run_id], include_pending=True), timeout=CALL_DEADLINE_S)

    before = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _follow(run_service: Any, run_id: str, prompt: dict[str, Any], console: Console, timeout_s: float) -> int:
    """Show events until the run has ended; returns its state."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), TimeElapsedColumn())
    with _cancel_on_interrupt(run_service, run_id, console), Progress(*columns, console=console) as bars:
        nodes = bars.add_task("nodes", total=len(prompt), count=f"0/{len(prompt)}")
        steps = bars.add_task("waiting", total=None, count="")
        try:
            for answer in run_service.WatchRun(runs.WatchRunRequest(run_id=run_id), timeout=timeout_s):
                _show(answer.event, prompt, bars, nodes, steps, console)
                if answer.event.WhichOneof("event") == "ended":
                    return int(answer.event.ended.state)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                run_service.CancelRun(
                    runs.CancelRunRequest(run_ids=[run_id], include_pending=True), timeout=CALL_DEADLINE_S
                )
            elif error.code() == grpc.StatusCode.NOT_FOUND:
                return event.RUN_STATE_INTERRUPTED  # cancelled while pending: it leaves no history
            raise
    return event.RUN_STATE_INTERRUPTED


def _show(
    happened: event.RunEvent, prompt: dict[str, Any], bars: Progress, nodes: TaskID, steps: TaskID, console: Console
) -> None:
    kind = happened.WhichOneof("event")
    if kind == "cached":
        bars.update(nodes, total=max(1, len(prompt) - len(happened.cached.node_ids)))
    elif kind == "node_states":
        done = sum(state.finished for state in happened.node_states.nodes)
        bars.update(nodes, completed=done, count=f"{done}/{len(prompt)}")
    elif kind == "executing":
        node = prompt.get(happened.executing.display_node_id, {})
        bars.reset(steps, description=str(node.get("class_type", happened.executing.node_id)), total=None, count="")
    elif kind == "progress":
        value, total = happened.progress.value, happened.progress.max
        bars.update(steps, completed=value, total=total, count=f"{value:g}/{total:g}")
    elif kind == "resumed":
        console.print(f"a worker was lost; attempt {happened.resumed.attempt}")
    elif kind == "failed":
        failed = happened.failed
        console.print(
            f"[red]{failed.node_type} ({failed.node_id}): {failed.exception_message.strip()}", highlight=False
        )


def _download(store: Any, outputs: dict[str, Any], out: Path) -> Iterator[Path]:
    """Every file that the outputs name, streamed to `out`; a name that is taken there gets a number."""
    for node_output in outputs.values():
        for items in node_output.values() if isinstance(node_output, dict) else ():
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict) and "filename" in item:
                    yield _download_one(store, item, out)


def _download_one(store: Any, item: dict[str, str], out: Path) -> Path:
    reference = artifact.ArtifactRef(
        type=item.get("type", "output"), subfolder=item.get("subfolder", ""), filename=item["filename"]
    )
    out.mkdir(parents=True, exist_ok=True)
    name = PurePosixPath(item["filename"]).name  # the server's word is not trusted with folders of ours
    target = out / name
    number = 1
    while target.exists():
        target = out / f"{Path(name).stem} ({number}){Path(name).suffix}"
        number += 1
    part = target.with_name(target.name + ".part")
    with part.open("wb") as file:
        request = artifact.DownloadArtifactRequest(ref=reference)
        for answer in store.DownloadArtifact(request, timeout=DOWNLOAD_DEADLINE_S):
            file.write(answer.chunk)
    part.replace(target)
    return target


def _warn_of_left_out(console: Console, node_errors_json: bytes) -> None:
    problems = json.loads(node_errors_json or b"{}")
    if problems:
        console.print("[yellow]some outputs were left out:")
        _print_problems(console, {"node_errors": problems})


def _print_problems(console: Console, body: dict[str, Any]) -> None:
    if error := body.get("error"):
        console.print(f"[red]{error.get('message')}: {error.get('details')}", highlight=False)
    for node, found in (body.get("node_errors") or {}).items():
        for problem in found.get("errors", ()):
            text = f"  {found.get('class_type')} ({node}): {problem['message']}: {problem['details']}"
            console.print(text, highlight=False, markup=False)
    sys.stderr.flush()
