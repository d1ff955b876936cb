"""POST /explain: what a workflow would do here, before it runs. Ours; ComfyUI has nothing like it."""

from __future__ import annotations

import json

from heliograph.graph.v1 import run_service_pb2 as graph
from starlette.requests import Request
from starlette.responses import Response

from kit.errors import InvalidPrompt
from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bodies import read_json_object
from rest_bridge.bridge import Bridge, Endpoint


async def explain(bridge: Bridge, request: Request) -> Response:
    """`{"prompt": WORKFLOW}` as for POST /prompt, or the workflow alone; API format, or as the web UI saves it."""
    body = await read_json_object(request)
    workflow = body.get("prompt", body) if "nodes" not in body else body
    targets = body.get("partial_execution_targets") if "nodes" not in body else None
    asked = graph.ExplainRunRequest(workflow_json=translate.dump(workflow))
    if isinstance(targets, list):
        asked.targets_given = True
        asked.partial_execution_targets.extend(str(target) for target in targets)
    try:
        return json_answer(translate.dump(_shown(await bridge.runs.explain(asked))))
    except InvalidPrompt as error:
        refused = {"type": "invalid_prompt", "message": error.message, "details": str(error), "extra_info": {}}
        return json_answer(translate.dump(error.body or {"error": refused, "node_errors": {}}), 400)


def _shown(found: graph.ExplainRunResponse) -> dict[str, object]:
    return {
        "accepted": not found.refusal_json,
        "refusal": json.loads(found.refusal_json) if found.refusal_json else None,
        "missing_nodes": [
            {"node_id": node.node_id, "class_type": node.class_type, "nearest": list(node.nearest)}
            for node in found.missing_nodes
        ],
        "missing_files": [
            {
                "node_id": file.node_id, "input": file.input, "folder": file.folder, "name": file.name,
                "nearest": list(file.nearest),
            }
            for file in found.missing_files
        ],
        "needed": list(found.needed),
        "recent": list(found.recent),
        "seconds": found.seconds,
        "unmeasured": list(found.unmeasured),
        "model_bytes": found.model_bytes,
        "prompt": json.loads(found.prompt_json),
    }  # fmt: skip


ENDPOINT = Endpoint("/explain", {"POST": explain})
