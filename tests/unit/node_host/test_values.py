"""What a node's function gets and gives, without a wire."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kit.errors import Conflict
from kit.node_values import HandleRef, HostRef, NodeLink, SameAs
from node_host.handles import HandleLost, Handles
from node_host.nodes import Call, Cancelled, as_fingerprint, call_with, taken_by
from node_host.values import CallValues


def values(*, lists: bool = False) -> CallValues:
    handles = Handles()
    handles.begin("me")
    return CallValues(handles, "me", lists=lists)


def test_what_came_in_goes_out_by_name_unless_it_was_changed() -> None:
    image, latent, model = np.ones(3), {"samples": np.ones(2)}, HostRef("m")
    table = values()
    table.came({"image": image, "latent": latent, "model": model, "number": 5, "none": None})
    assert table.outward(image) == SameAs("image") and table.outward(model) == SameAs("model")
    assert table.outward(latent) == SameAs("latent")
    assert table.outward(5) == 5 and table.outward(None) is None
    latent["samples"] = np.zeros(2)
    assert table.outward(latent) is latent


def test_elements_of_whole_lists_go_out_by_place() -> None:
    image = np.ones(3)
    table = values(lists=True)
    table.came({"images": [np.zeros(1), image]})
    assert table.outward(image) == SameAs("images", 1)


def test_other_objects_become_handles_and_come_back() -> None:
    table, thing = values(), object()
    ref = table.outward(thing)
    assert isinstance(ref, HandleRef) and table.outward(thing) == ref and table.inward(ref) is thing
    with pytest.raises(HandleLost):
        table.inward(HandleRef("else"))


def test_a_holder_that_is_gone_gets_no_handles_and_nobody_gets_too_many() -> None:
    handles = Handles(limit=1)
    with pytest.raises(HandleLost):
        handles.keep("me", object())
    handles.begin("me")
    ref = handles.keep("me", np.ones(4, np.float32))
    assert ref.size_bytes == 16
    with pytest.raises(MemoryError):
        handles.keep("me", object())
    handles.release("me", [ref.id, "else"])
    handles.end("me")
    handles.end("me")
    assert len(handles) == 0


def test_functions_get_what_they_name() -> None:
    def named(a: Any, b: Any = 2) -> Any:
        return a, b

    def anything(**given: Any) -> Any:
        return given

    assert call_with(named, {"c": 3}) == (None, 2) and call_with(named, {"a": 1, "b": 3}) == (1, 3)
    assert call_with(anything, {"c": 3}) == {"c": 3} and call_with(anything, {}) == {}
    assert taken_by(named) == (("a", "b"), False) and taken_by(anything) == ((), True)


@pytest.mark.parametrize(("answer", "text"), [("x", "x"), (1, "1"), (None, None), (float("nan"), None), ([1], "[1]")])
def test_fingerprints(answer: Any, text: str | None) -> None:
    assert as_fingerprint(answer) == text


def test_a_cancelled_call_stops_at_the_next_look() -> None:
    told: list[Any] = []
    call = Call("run", "node", "node.0.", lambda *report: told.append(report))
    call.progress(1, 2)
    assert told == [(1, 2, None)]
    call.cancel()
    for look in (call.check_cancelled, lambda: call.progress(2, 2)):
        with pytest.raises(Cancelled):
            look()


def test_ids_of_a_graph_begin_with_the_calls_prefix() -> None:
    graph = Call("run", "7", "7.1.", lambda *_: None).graph()
    first = graph.node("A", x=1)
    second = graph.node("B", y=first.out(0))
    assert [node.id for node in graph.nodes] == ["7.1.0.0", "7.1.0.1"] and second.inputs == {
        "y": NodeLink("7.1.0.0", 0)
    }


async def test_a_class_that_occurs_twice_stops_the_start() -> None:
    from node_host.nodes import ProvidedNode
    from node_host.provider import Provider

    node = ProvidedNode("A", lambda call: (), {})
    with pytest.raises(Conflict):
        Provider([node, node], shared_memory=False)
