"""The model service dies in the middle of a step: it comes back, and the run goes on to the same picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support import graphs
from tests.support.asking import Asking, kill, process_ids, replaced
from tests.support.graphs import Graph
from tests.support.stack import Stack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
STEPS = 12


@pytest.fixture(scope="module")
def stack(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(models, tmp_path_factory.mktemp("deaths")) as running:
        yield running


@pytest.fixture
def asking(stack: Stack) -> Asking:
    return Asking(stack)


def forget(asking: Asking) -> None:
    """Lets the workers forget their results, so that the same prompt is computed again."""
    assert asking.post("/free", json={"unload_models": True, "free_memory": True}).status_code == 200


def pixels(asking: Asking, run_id: str) -> bytes:
    """The one picture of a run that must have succeeded."""
    entry = asking.ended(run_id)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
    (picture,) = asking.pictures(entry["outputs"])
    with Image.open(io.BytesIO(picture)) as opened:
        return opened.tobytes()


def undisturbed(asking: Asking, graph: Graph) -> bytes:
    found = pixels(asking, asking.submit(graph))
    forget(asking)
    return found


@pytest.mark.parametrize("deaths", [1, 2])
def test_killed_in_the_middle_of_sampling(asking: Asking, stack: Stack, deaths: int) -> None:
    """Each call that dies with its server is repeated once, and one run can see several deaths."""
    graph = graphs.text_to_image(seed=70 + deaths, steps=STEPS)
    expected = undisturbed(asking, graph)
    (worker,) = process_ids(stack, "worker")
    run_id = asking.submit(graph)
    seen = 0
    for event in asking.watched(run_id):
        if event.HasField("progress") and event.progress.value in (3, 6)[:deaths]:
            replaced(stack, "models", kill(stack, "models"))
            seen += 1
    assert seen == deaths
    assert pixels(asking, run_id) == expected
    assert process_ids(stack, "worker") == [worker]


@pytest.mark.parametrize("node_id", ["2", "4", "5"], ids=["text-encoder", "sampler", "decoder"])
def test_killed_as_a_node_begins(asking: Asking, stack: Stack, node_id: str) -> None:
    graph = graphs.text_to_image(seed=73, steps=2)
    expected = undisturbed(asking, graph)
    run_id = asking.submit(graph)
    for event in asking.watched(run_id):
        if event.HasField("executing") and event.executing.node_id == node_id:
            kill(stack, "models")
    assert pixels(asking, run_id) == expected


def test_killed_while_nothing_runs(asking: Asking, stack: Stack) -> None:
    expected = undisturbed(asking, graphs.text_to_image(seed=74))
    kill(stack, "models")
    assert pixels(asking, asking.submit(graphs.text_to_image(seed=74))) == expected


def test_prompts_are_answered_while_it_is_away(asking: Asking, stack: Stack) -> None:
    """Without the model service nothing is lost: a prompt waits, or is told that it cannot be checked now (503)."""
    kill(stack, "models")
    assert asking.succeed(graphs.plain(colour=75))
    answer = asking.prompt(graphs.text_to_image(seed=75))
    assert answer.status_code in (200, 503), answer.text
    if answer.status_code == 503:
        assert answer.json()["error"]["type"] == "backend_down" and "Retry-After" in answer.headers
    replaced(stack, "models", -1)
