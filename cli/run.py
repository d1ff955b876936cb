"""`heliograph run`: submit a workflow over gRPC, show progress, download the files."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

from cli.prompt_text import with_text
from cli.show import show_pictures
from kit.errors import InvalidPrompt, InvalidRequest, Unready
from kit.serve import channel_options
from kit.status import from_rpc_error

CALL_DEADLINE_S = 30.0
DOWNLOAD_DEADLINE_S = 600.0
UPLOAD_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Changes:
    """What is to be different from the workflow: `sets` are NODE.INPUT=VALUE; `uploads` are files its loaders name."""

    sets: Sequence[str] = ()
    positive: str | None = None
    negative: str | None = None
    uploads: Sequence[Path] = ()


def run_workflow(path: Path, changes: Changes, out: Path, *, server: str, timeout_s: float) -> int:
    """Run one workflow to its end. Returns 0 when it succeeded, 1 when it failed, 130 when it was stopped."""
    workflow = read_workflow(path)
    console = Console(stderr=True)
    with grpc.insecure_channel(server, options=channel_options()) as channel:
        run_service, store = runs_grpc.RunServiceStub(channel), artifact_grpc.ArtifactServiceStub(channel)
        try:
            prompt = changed_prompt(_as_prompt(run_service, workflow), changes)
            for file in changes.uploads:
                prompt = _renamed(prompt, file.name, _upload(store, file))
            with _Interrupts(run_service, console) as interrupts:
                receipt = _submit(run_service, prompt, path.name)
                interrupts.watch(receipt.run_id)
                _warn_of_left_out(console, receipt.node_errors_json)
                state = _follow(run_service, receipt.run_id, prompt, console, timeout_s)
            saved = []
            for file in _download(store, _outputs(run_service, receipt.run_id), out):
                print(file, flush=True)
                saved.append(file)
        except grpc.RpcError as error:
            typed = from_rpc_error(error)
            if isinstance(typed, InvalidPrompt) and typed.body:
                _print_problems(console, typed.body)
                return 1
            if isinstance(typed, Unready):
                raise Unready("no Heliograph answers there: start it with `heliograph up`", server=server) from error
            raise typed from error
    show_pictures(saved, console)
    return 0 if state == event.RUN_STATE_SUCCEEDED else 130 if state == event.RUN_STATE_INTERRUPTED else 1


def read_workflow(path: Path) -> dict[str, Any]:
    """The workflow of a JSON file (API format, or as the web UI saves it), or the prompt that a picture carries."""
    try:
        if path.suffix.lower() == ".png":
            from PIL import Image

            with Image.open(path) as picture:
                prompt = json.loads(getattr(picture, "text", {})["prompt"])
        else:
            prompt = json.loads(path.read_text("utf-8"))
    except (ValueError, KeyError, OSError) as error:
        raise InvalidRequest("the file holds no workflow", file=path, problem=error) from error
    if not isinstance(prompt, dict):
        raise InvalidRequest("a workflow is a JSON object of nodes", file=path)
    return prompt


def _as_prompt(run_service: runs_grpc.RunServiceStub, workflow: dict[str, Any]) -> dict[str, Any]:
    """In API format; what the web UI saved is turned by the service, which knows every node's widgets."""
    if not isinstance(workflow.get("nodes"), list):
        return workflow
    request = runs.ExplainRunRequest(workflow_json=json.dumps(workflow).encode())
    answer = run_service.ExplainRun(request, timeout=CALL_DEADLINE_S)
    prompt: dict[str, Any] = json.loads(answer.prompt_json)
    return prompt


def changed_prompt(prompt: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """`prompt` with all changes; what `--set` says wins. Raises InvalidRequest for a change that fits nothing."""
    for role, text in (("positive", changes.positive), ("negative", changes.negative)):
        if text is not None:
            prompt = with_text(prompt, role, text)
    return apply_changes(prompt, changes.sets)


def apply_changes(prompt: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
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


class _Interrupts:
    """Ctrl-C cancels this run only, from before it is submitted until its end; a second one gives up waiting for it."""

    def __init__(self, run_service: Any, console: Console) -> None:
        self._run_service = run_service
        self._console = console
        self._run_id: str | None = None
        self._asked = False

    def __enter__(self) -> _Interrupts:
        self._before = signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def watch(self, run_id: str) -> None:
        """The run is accepted; if Ctrl-C came while it was being submitted, it is cancelled now."""
        self._run_id = run_id
        if self._asked:
            self._cancel(run_id)

    def _on_interrupt(self, _signal: int, _frame: object) -> None:
        self._console.print("cancelling; press Ctrl-C again to stop waiting")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._asked = True
        if self._run_id is not None:
            self._cancel(self._run_id)

    def _cancel(self, run_id: str) -> None:
        self._run_service.CancelRun(
            runs.CancelRunRequest(run_ids=[run_id], include_pending=True), timeout=CALL_DEADLINE_S
        )


def _outputs(run_service: Any, run_id: str) -> dict[str, Any]:
    """What the run made, also if it failed in the middle; nothing if it was cancelled before it began."""
    try:
        found = run_service.GetRun(runs.GetRunRequest(run_id=run_id), timeout=CALL_DEADLINE_S).run
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.NOT_FOUND:
            return {}
        raise
    outputs: dict[str, Any] = json.loads(found.outputs_json or b"{}")
    return outputs


def _follow(run_service: Any, run_id: str, prompt: dict[str, Any], console: Console, timeout_s: float) -> int:
    """Show events until the run has ended; returns its state."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
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


def _upload(store: Any, file: Path) -> str:
    """Put a file into the server's input folder; returns the name it has there: another one where its own is taken."""

    def parts() -> Iterator[artifact.UploadArtifactRequest]:
        reference = artifact.ArtifactRef(type="input", filename=file.name)
        yield artifact.UploadArtifactRequest(header=artifact.UploadHeader(ref=reference))
        with file.open("rb") as content:
            while chunk := content.read(UPLOAD_CHUNK_BYTES):
                yield artifact.UploadArtifactRequest(chunk=chunk)

    return str(store.UploadArtifact(parts(), timeout=DOWNLOAD_DEADLINE_S).ref.filename)


def _renamed(prompt: dict[str, Any], name: str, stored: str) -> dict[str, Any]:
    """`prompt` with every input that names the uploaded file naming what it is called on the server."""
    return {
        key: {**node, "inputs": {k: stored if v == name else v for k, v in node.get("inputs", {}).items()}}
        for key, node in prompt.items()
    }


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
