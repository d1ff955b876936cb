"""comfy-api-client 0.1.0 in an environment of its own: its README's client with HTTP-based polling, and by hand."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from comfy_api_client import create_client, utils


async def main(comfyui_server: str, workflow_file: str, folder: str) -> dict[str, Any]:
    workflow = utils.read_json(workflow_file)
    report: dict[str, Any] = {}
    async with create_client(comfyui_server, start_state_tracker="http") as client:
        report["system"] = (await client.get_system_stats()).system.model_dump()
        prompt = await client.submit_workflow(workflow)
        result = await prompt.future
        report["files"] = [item.filename for item in result.output_images]
        for item in result.output_images:
            item.image.save(Path(folder) / item.filename)
        report["number"], report["completed"] = prompt.number, prompt.prompt_id in await client.get_completed_prompts()
        uploaded = await client.upload_image("mine.png", result.output_images[0].image, subfolder="api-client")
        mask = await client.upload_mask("mask.png", result.output_images[0].image.convert("RGBA"), uploaded)
        report["uploaded"], report["mask"] = uploaded.model_dump(), mask.model_dump()
        item = await client.retrieve_image("mine.png", subfolder="api-client", type="input")
        report["retrieved"] = [item.filename, item.format, *item.image.size]
        report["missing"] = await client.retrieve_image("absent.png")

    async with create_client(comfyui_server, start_state_tracker=None) as client:
        prompt = await client.submit_workflow(workflow, return_future=False)
        while prompt.prompt_id not in await client.get_history():
            time.sleep(0.1)
        report["again"] = [item.filename for item in (await client.fetch_results(prompt)).output_images]
        queue = await client.get_queue()
        report["queue"] = [len(queue.pending), len(queue.running)]
        await client.remove_from_history([prompt.prompt_id])
        report["removed"] = await client.get_history(prompt.prompt_id)
    return report


if __name__ == "__main__":
    print("report " + json.dumps(asyncio.run(main(*sys.argv[1:]))))
