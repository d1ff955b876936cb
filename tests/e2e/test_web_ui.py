"""The official web UI in a real browser, as a person uses it. Screenshots stay in build/screenshots for who looks."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.conftest import CHECKPOINT
from tests.support import workflows
from tests.support.stack import REPO, Stack

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (dependency group dev)")
pytest.importorskip("comfyui_frontend_package", reason="the web UI is not installed (extra ui)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian package chromium)"),
]

SHOTS = REPO / "build" / "screenshots"
START_MS, WAIT_S = 90_000, 60.0
# As root and without a network: no sandbox, and nothing that calls home.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-quic",
]  # fmt: skip


class Browser:
    """One page with the UI loaded."""

    def __init__(self, page: Any, stack: Stack) -> None:
        self.page = page
        self.stack = stack

    def open(self) -> None:
        self.page.goto(self.stack.rest + "/")
        self.page.wait_for_function("window.app && window.app.vueAppReady", timeout=START_MS)
        # Newcomers are shown templates; whoever has been here before is not.
        dialog = self.page.get_by_role("dialog")
        if self.appears(dialog):
            self.page.keyboard.press("Escape")
            dialog.wait_for(state="hidden")

    def appears(self, locator: Any, limit_ms: float = 4000) -> bool:
        try:
            locator.first.wait_for(state="visible", timeout=limit_ms)
            return True
        except sync_api.TimeoutError:
            return False

    def load(self, file: Path, nodes: int) -> None:
        self.page.set_input_files("#comfy-file-input", str(file))
        self.page.wait_for_function(f"window.app.graph._nodes.length === {nodes}")

    def run(self) -> None:
        self.page.get_by_label("Run", exact=True).first.click()

    def click(self, label: str) -> None:
        self.page.get_by_label(label).locator("visible=true").first.click()

    def shot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(SHOTS / f"{name}.png"))

    def get(self, path: str) -> Any:
        return requests.get(self.stack.rest + path, timeout=20).json()

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + WAIT_S
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not come"
            self.page.wait_for_timeout(100)
        return found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def browser(chromium: Any, stack: Stack) -> Iterator[Browser]:
    requests.post(stack.rest + "/history", json={"clear": True}, timeout=20)
    page = chromium.new_page(viewport={"width": 1400, "height": 900})
    found = Browser(page, stack)
    found.open()
    yield found
    page.close()


def last_run(browser: Browser) -> dict[str, Any]:
    history: dict[str, Any] = browser.until(lambda: browser.get("/history"))
    entry: dict[str, Any] = list(history.values())[-1]
    return entry


def test_load_run_see_the_picture_and_load_it_again(browser: Browser) -> None:
    browser.load(workflows.FOLDER / "no-model.json", nodes=5)
    browser.run()
    entry = last_run(browser)
    assert entry["status"]["status_str"] == "success"
    (saved,) = entry["outputs"].values()
    browser.page.wait_for_function("window.app.graph._nodes.find(n => n.type === 'SaveImage').imgs?.length === 2")
    browser.click("Fit View (.)")
    browser.click("Queue (q)")
    assert browser.appears(browser.page.locator(".task-item, .task-result-preview, .sidebar-content-container img"))
    browser.shot("picture")
    # What the UI sent came back in the file: the picture alone brings the workflow.
    picture = browser.stack.data / "output" / saved["images"][0]["filename"]
    browser.click("Create a new blank workflow")
    browser.page.wait_for_function("window.app.graph._nodes.length === 0")
    browser.load(picture, nodes=5)


def test_progress_preview_and_cancel(browser: Browser, tmp_path: Path) -> None:
    graph = workflows.on_synthetic_weights(workflows.load("text-to-image"), CHECKPOINT, "", "")
    graph["5"]["inputs"]["steps"] = 5000
    file = tmp_path / "long.json"
    file.write_text(json.dumps(graph))
    browser.load(file, nodes=7)
    browser.run()
    sampler = "window.app.graph._nodes.find(n => n.type === 'KSampler')"
    browser.page.wait_for_function(f"{sampler}.progress > 0", timeout=WAIT_S * 1000)
    browser.page.wait_for_function("Object.keys(window.app.nodePreviewImages).length > 0", timeout=WAIT_S * 1000)
    browser.shot("progress")
    browser.click("Cancel current run")
    entry = last_run(browser)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert browser.get("/queue") == {"queue_running": [], "queue_pending": []}


def test_an_error_is_shown_on_its_node(browser: Browser, tmp_path: Path) -> None:
    graph = workflows.load("no-model")
    del graph["4"]["inputs"]["image"]
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(graph))
    browser.load(file, nodes=5)
    browser.run()
    assert browser.appears(browser.page.get_by_text("Required input is missing"), WAIT_S * 1000)
    browser.shot("error")
    errors = browser.page.evaluate("window.app.lastNodeErrors")
    assert {node_id: error["class_type"] for node_id, error in errors.items()} == {"4": "ImageScaleBy"}


def test_save_and_open_again(browser: Browser) -> None:
    browser.load(workflows.FOLDER / "no-model.json", nodes=5)
    browser.page.keyboard.press("Control+s")
    name = browser.page.get_by_role("dialog").get_by_role("textbox")
    name.fill("kept")
    browser.page.get_by_role("button", name="Confirm").click()
    stored = browser.stack.data / "user" / "default" / "workflows" / "kept.json"
    browser.until(stored.exists)
    browser.open()
    browser.click("Create a new blank workflow")
    browser.page.wait_for_function("window.app.graph._nodes.length === 0")
    browser.click("Workflows (w)")
    browser.page.locator(".sidebar-content-container").get_by_text("kept").last.click()
    browser.page.wait_for_function("window.app.graph._nodes.length === 5")
    browser.shot("reopened")


def test_clear_the_history(browser: Browser) -> None:
    browser.load(workflows.FOLDER / "no-model.json", nodes=5)
    browser.run()
    last_run(browser)
    browser.click("Queue (q)")
    header = browser.page.locator(".side-bar-panel, .comfy-vue-side-bar-container").first
    header.hover()
    browser.shot("queue")
    browser.page.locator("button:has(.pi-trash)").first.click(force=True)
    confirm = browser.page.get_by_role("button", name="Delete")
    if browser.appears(confirm):
        confirm.click()
    browser.until(lambda: browser.get("/history") == {})
