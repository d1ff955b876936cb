"""Who stays in memory, who leaves, who waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from kit.errors import Busy, InvalidModel, NotFound, Stopped, Unready
from model_service.archs.spec import Signature
from model_service.runtime.engine import Cancellation
from model_service.servables.residency import Candidate, Residency, State

NO_TENSORS = Signature((), ())


class Thing:
    """Memory of a known size."""

    def __init__(self, name: str, size: int, log: list[str]) -> None:
        self.name, self.memory_bytes, self.mapped_bytes = name, size, 0
        self._log = log
        log.append(f"+{name}")

    def close(self) -> None:
        self._log.append(f"-{self.name}")


class House:
    """A residency whose comings and goings are in `log`."""

    def __init__(self, budget: int, patience_s: float = 5.0) -> None:
        self.log: list[str] = []
        self.residency: Residency[Thing] = Residency(budget, patience_s)

    def admit(self, name: str, size: int = 10, actual: int | None = None, opening: Callable[[], None] = int) -> None:
        def opened() -> Thing:
            opening()
            return Thing(name, size if actual is None else actual, self.log)

        self.residency.admit(Candidate(name, "arch", f"{name}.safetensors", NO_TENSORS, size, opened))

    def call(self, name: str) -> None:
        with self.residency.lease(name):
            pass


def test_loads_once_and_stays() -> None:
    house = House(100)
    house.admit("a")
    assert house.residency.used_bytes == 0
    house.call("a")
    house.call("a")
    assert house.log == ["+a"]
    assert house.residency.used_bytes == 10
    (resident,) = house.residency.all()
    assert (resident.bytes, resident.active, resident.state) == (10, 0, State.READY)


def test_the_least_recently_used_leaves() -> None:
    house = House(20)
    for name in "abc":
        house.admit(name)
    for name in "abac":
        house.call(name)
    assert house.log == ["+a", "+b", "-b", "+c"]
    house.call("b")
    assert house.log == ["+a", "+b", "-b", "+c", "-a", "+b"]


def test_uses_elsewhere_count() -> None:
    house = House(20)
    house.residency = Residency(20, recency=lambda: {"a": 1 << 62})
    for name in "abc":
        house.admit(name)
        house.call(name)
    assert house.log == ["+a", "+b", "-b", "+c"]


def test_one_alone_may_be_larger_than_the_budget() -> None:
    house = House(20)
    house.admit("small")
    house.admit("huge", 1000)
    house.call("small")
    house.call("huge")
    assert house.log == ["+small", "-small", "+huge"]
    assert house.residency.used_bytes == 1000


def test_what_took_more_than_estimated_pushes_others_out() -> None:
    house = House(20)
    house.admit("a")
    house.admit("b", 10, actual=15)
    house.call("a")
    house.call("b")
    assert house.log == ["+a", "+b", "-a"]


def test_one_with_calls_never_leaves() -> None:
    house = House(15, patience_s=0.05)
    house.admit("a")
    house.admit("b")
    with house.residency.lease("a"):
        with pytest.raises(Busy) as caught:
            house.call("b")
        assert caught.value.reason == "NO_MEMORY"
        assert house.residency.release_idle() == 0
    assert house.log == ["+a"]
    house.call("b")
    assert house.log == ["+a", "-a", "+b"]


def test_loading_waits_for_calls_to_end() -> None:
    house = House(15)
    house.admit("a")
    house.admit("b")
    with ThreadPoolExecutor(1) as pool:
        with house.residency.lease("a"):
            waiting: Future[None] = pool.submit(house.call, "b")
            while not any(one.state is State.LOADING for one in house.residency.all()):
                assert not waiting.done()
            assert house.log == ["+a"]
        waiting.result(5)
    assert house.log == ["+a", "-a", "+b"]


def test_many_callers_load_once() -> None:
    house = House(100)
    together = threading.Barrier(8, timeout=5)
    house.admit("a")

    def call() -> None:
        together.wait()
        house.call("a")

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(call) for _ in range(8)]:
            future.result(5)
    assert house.log == ["+a"]


def test_a_failed_load_leaves_nothing_and_may_be_tried_again() -> None:
    house = House(100)
    failures = [InvalidModel("broken")]

    def fail_once() -> None:
        if failures:
            raise failures.pop()

    house.admit("a", opening=fail_once)
    with pytest.raises(InvalidModel):
        house.call("a")
    assert house.residency.used_bytes == 0
    house.call("a")
    assert house.log == ["+a"]


def test_unloaded_refuses_until_it_is_loaded_or_admitted_again() -> None:
    house = House(100)
    house.admit("a")
    house.call("a")
    house.residency.unload("a")
    assert house.log == ["+a", "-a"]
    assert house.residency.all()[0].state is State.WITHDRAWN
    with pytest.raises(Unready) as caught:
        house.call("a")
    assert caught.value.reason == "SERVABLE_UNLOADED"
    house.residency.load("a")
    house.call("a")
    house.residency.unload("a")
    house.admit("a")
    house.call("a")
    assert house.log == ["+a", "-a"] * 2 + ["+a"]


def test_unloading_waits_for_calls_in_flight() -> None:
    house = House(100)
    house.admit("a")
    with house.residency.lease("a"):
        house.residency.unload("a")
        assert house.log == ["+a"]
        with pytest.raises(Unready):
            house.call("a")
    assert house.log == ["+a", "-a"]
    assert house.residency.used_bytes == 0


def test_release_evict_and_forget() -> None:
    house = House(100)
    for name in "ab":
        house.admit(name)
        house.call(name)
    assert not house.residency.forget("a")
    house.residency.evict("a")
    assert house.residency.forget("a")
    assert house.residency.release_idle() == 1
    assert house.log == ["+a", "+b", "-a", "-b"]
    with pytest.raises(NotFound):
        house.call("a")
    house.call("b")


def test_a_cancelled_caller_stops_waiting() -> None:
    house = House(15)
    house.admit("a")
    house.admit("b")
    cancel = Cancellation()

    def call() -> None:
        with house.residency.lease("b", cancel):
            raise AssertionError("there was no room")

    with ThreadPoolExecutor(1) as pool, house.residency.lease("a"):
        waiting = pool.submit(call)
        while not any(one.state is State.LOADING for one in house.residency.all()):
            assert not waiting.done()
        cancel.cancel()
        house.residency.wake()
        with pytest.raises(Stopped):
            waiting.result(5)
    assert house.log == ["+a"]


def test_unknown() -> None:
    house = House(1)
    with pytest.raises(NotFound) as caught:
        house.call("nobody")
    assert caught.value.reason == "SERVABLE_NOT_FOUND"
    with pytest.raises(NotFound):
        house.residency.unload("nobody")
