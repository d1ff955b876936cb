"""Cache keys by content, cache bounds, sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.cache import Entry, ResultCache, size_of
from orchestrator.engine.cancel import Cancel
from orchestrator.engine.keys import node_keys
from orchestrator.graph.declare import NodeImpl, node
from orchestrator.graph.prompt import from_json
from orchestrator.graph.spec import Link


@node("Any", category="t", outputs=(("*", "*"), ("*", "*")))
def anything(ctx: Any, **more: Any) -> tuple[Any, Any]:
    return (1, 2)


@node("Named", category="t", hidden=(("me", "UNIQUE_ID"),))
def named(ctx: Any, *, me: str = "") -> None: ...


@node("Printed", category="t", fingerprint=lambda ctx, inputs: "x")
def printed(ctx: Any, *, a: Annotated[Any, Link("*")] = None) -> None: ...


IMPLS: dict[str, NodeImpl] = {f.__node__.spec.id: f.__node__ for f in (anything, named, printed)}


def one(class_type: str = "Any", **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def keys(prompt: dict[str, Any], fingerprints: dict[str, str | None] | None = None, salt: str = "") -> dict[str, str]:
    return node_keys(from_json(prompt), IMPLS, fingerprints or {}, salt)


def key(*nodes: dict[str, Any], **more: Any) -> str:
    return keys({str(i): item for i, item in enumerate(nodes)}, **more)[str(len(nodes) - 1)]


def test_what_changes_a_key() -> None:
    base = key(one(a=1), one(b=["0", 0]))
    assert base == key({**one(a=1), "_meta": {"title": "x"}}, one(b=["0", 0]))
    others = [
        key(one(a=2), one(b=["0", 0])),
        key(one(a=1.0), one(b=["0", 0])),
        key(one(a="1"), one(b=["0", 0])),
        key(one(a=1), one(b=["0", 1])),
        key(one(a=1), one(c=["0", 0])),
        key(one(a=1), one(b=["0", 0], undeclared=3)),
        key(one(a=1), one(b={"__value__": ["0", 0]})),
        key(one(a=1), one(b=["0", 0]), salt="other"),
    ]
    assert len({base, *others}) == len(others) + 1


def test_ids_and_order_do_not_count_unless_the_class_sees_its_id() -> None:
    assert keys({"x": one(a=1), "y": one(b=["x", 0])})["y"] == keys({"2": one(b=["1", 0]), "1": one(a=1)})["2"]
    assert key(one(a=1, b=2)) == key(one(b=2, a=1))
    assert keys({"x": one("Named")})["x"] != keys({"y": one("Named")})["y"]


def test_version_and_idempotence_count() -> None:
    graph, before = from_json({"1": one(a=1)}), key(one(a=1))
    newer = replace(IMPLS["Any"], spec=replace(IMPLS["Any"].spec, version=2))
    assert node_keys(graph, {"Any": newer}, {}, "")["1"] != before
    once = replace(IMPLS["Any"], spec=replace(IMPLS["Any"].spec, idempotent=False))
    twice = node_keys(from_json({"1": one(a=1), "2": one(a=1)}), {"Any": once}, {}, "")
    assert twice["1"] != twice["2"]


def test_fingerprints() -> None:
    prompt = {"1": one("Printed"), "2": one(a=["1", 0])}
    assert keys(prompt) == {}
    same = keys(prompt, {"1": "f"})
    assert same == keys(prompt, {"1": "f"}) and same["2"] != keys(prompt, {"1": "g"})["2"]
    never = keys(prompt, {"1": None})
    assert never["1"] != keys(prompt, {"1": None})["1"] and never["2"] != keys(prompt, {"1": None})["2"]


def test_nodes_without_a_key() -> None:
    prompt = {
        "loop": one(a=["pool", 0]), "pool": one(a=["loop", 0]), "below": one(a=["loop", 0]),
        "dangling": one(a=["nowhere", 0]), "unknown": one("New"), "bare": {"class_type": "Any"}, "good": one(a=1),
    }  # fmt: skip
    assert list(keys(prompt)) == ["good"]


def test_deep_graphs() -> None:
    deep = {str(i): one(a=[str(i + 1), 0], b=[str(i + 1), 1]) for i in range(4999)}
    assert len(keys({**deep, "4999": one(a=1)})) == 5000


def entry(size: int = 0, ui: dict[str, Any] | None = None) -> Entry:
    return Entry(((b"x" * size,),), ui, {})


def test_least_recently_used_leaves_first() -> None:
    one_size = size_of((entry(1000).outputs, None))
    cache = ResultCache(3 * one_size)
    for name in "abc":
        cache.put(name, entry(1000))
    assert cache.get("a") and cache.nbytes == 3 * one_size
    cache.put("d", entry(1000))
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]
    cache.put("huge", entry(10_000))
    assert cache.get("huge") is None and len(cache) == 3
    cache.put("a", entry(0))
    assert cache.nbytes < 3 * one_size
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_entries_are_bounded() -> None:
    cache = ResultCache(1 << 20, max_entries=2)
    for name in "abc":
        cache.put(name, entry())
    assert [name for name in "abc" if cache.get(name)] == ["b", "c"]
    none = ResultCache(1 << 20, max_entries=0)
    none.put("a", entry())
    assert len(none) == 0


def test_what_other_prompts_showed_is_forgotten() -> None:
    cache = ResultCache(1 << 20)
    cache.put("value", entry())
    cache.put("shown", entry(ui={"images": []}))
    cache.put("kept", entry(ui={"images": []}))
    cache.begin({"kept"})
    assert [name for name in ("value", "shown", "kept") if cache.get(name)] == ["value", "kept"]
    cache.keep_only({"kept"})
    assert len(cache) == 1


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 500)), max_size=30))
def test_bounds_always_hold(puts: list[tuple[str, int]]) -> None:
    cache = ResultCache(1500, max_entries=3)
    for name, size in puts:
        cache.put(name, entry(size))
        assert cache.nbytes <= 1500 and len(cache) <= 3
    assert (cache.nbytes == 0) == (len(cache) == 0)


def test_size_of_nested_values() -> None:
    class Tensor:
        nbytes = 4096

    @dataclass(frozen=True)
    class Latent:
        samples: Tensor
        more: Any = None

    shared = Tensor()
    assert size_of(Latent(shared)) >= 4096
    assert size_of((Latent(shared), [shared], MappingProxyType({"a": shared}))) < 2 * 4096
    assert size_of({"a": [Latent(Tensor()), Latent(Tensor(), "text")]}) >= 2 * 4096
    circle: list[Any] = []
    circle.append(circle)
    assert size_of(circle) > 0
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    assert size_of(deep) > 5000


def test_cancel_tells_watchers_once() -> None:
    cancel, told = Cancel(), list[str]()

    def first() -> None:
        told.append("first")

    def never() -> None:
        told.append("never")

    cancel.watch(first)
    cancel.watch(never)
    cancel.unwatch(never)
    cancel.set()
    cancel.set()
    assert told == ["first"] and cancel.is_set()
    cancel.watch(first)
    assert told == ["first", "first"]
