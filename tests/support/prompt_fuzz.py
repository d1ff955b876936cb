"""Requests of POST /prompt that are nearly right: valid graphs over all node types of ours, then damaged; by seed.

python -m tests.support.prompt_fuzz [inputs] [seed]: without end unless told how many.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from kit.errors import HeliographError, InvalidPrompt
from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import Bool, Float, InputFile, Int, Link, OneOf, Text
from orchestrator.graph.prompt import parse
from orchestrator.graph.validate import NO_PROMPT, validate
from rest_bridge import answers, translate
from rest_bridge.bodies import read_text
from rest_bridge.malformed import MalformedRequest
from tests.support.builtin import builtin_catalogue
from tests.support.recorded_catalogue import FixedLists

LISTS = FixedLists({"checkpoints": ("a.safetensors",), "loras": ("l.safetensors",), "vae": ("v.pt",)}, ("a.png",))
DEEP: Any = 0
for _ in range(60):
    DEEP = [DEEP, {"a": DEEP}] if _ < 6 else [DEEP]
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    -(2**63),
    2**64,
    10**400,
    1e308,
    -1e308,
    5e-324,
    float("nan"),
    float("inf"),
    float("-inf"),
    -0.0,
    0.1,
    "",
    " ",
    "0",
    "-0",
    "1e999",
    "nan",
    "0x10",
    "١٢",
    "1_000",
    "9" * 5000,
    "a.png",
    "a.png [output]",
    "../a",
    "\0",
    "\ud800",
    "\udfff\ud800",
    "💥",
    "é",
    "e\u0301",
    "\u202e",
    "x" * 3000,
    "__proto__",
    "constructor",
    "None",
    "true",
    "False",
    [],
    {},
    [[]],
    [None],
    [{}],
    ["1"],
    ["1", 0],
    ["1", "0"],
    ["1", 0, 0],
    [1, 0],
    ["1", -1],
    ["1", 2**70],
    ["1", 0.0],
    ["1", True],
    ["1", None],
    [None, 0],
    [["1", 0], 0],
    ["\ud800", 0],
    ["no such", 0],
    {"__value__": ["1", 0]},
    {"__value__": {"__value__": []}},
    {"__value__": None, "a": 1},
    {"__type__": "x"},
    DEEP,
    {"a": {"b": {"c": [1, 2]}}},
    list(range(300)),
    {str(number): number for number in range(100)},
)
IDS = (
    "",
    "0",
    "1",
    "-1",
    "1.5",
    " 1",
    "1 ",
    "#1",
    "None",
    "\0",
    "\ud800",
    "💥",
    "a" * 600,
    "1:2",
    "2.0.0.3",
    "__proto__",
    "%2F",
)
FIELDS = ("client_id", "prompt_id", "extra_data", "number", "front", "partial_execution_targets", "prompt", "unknown")
EXTRA: tuple[Any, ...] = (
    {}, {"extra_pnginfo": {"workflow": {"id": None}}}, {"extra_pnginfo": []}, {"extra_pnginfo": {"workflow": "\ud800"}},
    {"client_id": {}}, {"client_id": None}, {"preview_method": 5}, {"a": float("nan")}, {"auth_token_comfy_org": "x"},
)  # fmt: skip


class Requests:
    """Bodies by one seed, always the same ones in the same order."""

    def __init__(self, seed: int, catalogue: Catalogue) -> None:
        self._rng = random.Random(seed)
        self._catalogue = catalogue
        self._classes = sorted(catalogue)
        self._outputs = [name for name in self._classes if catalogue[name].output_node]
        self._makers: dict[str, list[tuple[str, int]]] = {}
        for name in self._classes:
            for slot, output in enumerate(catalogue[name].outputs):
                self._makers.setdefault(str(output.type), []).append((name, slot))

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self.body()

    def body(self) -> bytes:
        """One request body."""
        rng = self._rng
        value: Any = {"prompt": self.graph()}
        for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
            value = self._damaged(value)
        if rng.random() < 0.3 and isinstance(value, dict):
            field = rng.choice(FIELDS)
            value[field] = copy.deepcopy(rng.choice(EXTRA if field == "extra_data" and rng.random() < 0.6 else ODD))
        raw = json.dumps(value, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")
        return self._cut(raw) if rng.random() < 0.05 else raw

    def graph(self) -> dict[str, Any]:
        """A graph that ComfyUI could make, of few nodes."""
        nodes: dict[str, Any] = {}
        for _ in range(self._rng.choice((1, 1, 1, 2))):
            self._node(self._rng.choice(self._outputs if self._rng.random() < 0.9 else self._classes), nodes, depth=0)
        return nodes

    def _node(self, class_type: str, nodes: dict[str, Any], depth: int) -> str:
        node_id = str(len(nodes) + 1)
        inputs: dict[str, Any] = {}
        nodes[node_id] = {"class_type": class_type, "inputs": inputs}
        for item in self._catalogue[class_type].inputs:
            if item.required or self._rng.random() < 0.3:
                inputs[item.name] = self._value(item.kind, nodes, depth)
        if self._rng.random() < 0.2:
            nodes[node_id]["_meta"] = {"title": "t"}
        return node_id

    def _value(self, kind: Any, nodes: dict[str, Any], depth: int) -> Any:
        rng = self._rng
        if isinstance(kind, Link):
            makers = self._makers.get(kind.type.split(",")[0]) or self._makers["INT"]
            if depth > 5 or len(nodes) > 12:
                return [rng.choice(list(nodes)), 0]
            class_type, slot = rng.choice(makers)
            return [self._node(class_type, nodes, depth + 1), slot]
        if isinstance(kind, Int | Float):
            least = kind.min if kind.min is not None else 0
            return least if rng.random() < 0.5 else kind.default if kind.default is not None else least
        if isinstance(kind, OneOf):
            choices = kind.choices(LISTS)
            return rng.choice(choices) if choices else ""
        if isinstance(kind, Bool):
            return rng.random() < 0.5
        return "a.png" if isinstance(kind, InputFile) else "text" if isinstance(kind, Text) else "x"

    def _damaged(self, value: Any) -> Any:
        """One change somewhere in the tree."""
        places = list(_places(value))
        if not places:
            return value
        holder, key = self._rng.choice(places)
        self._rng.choice(_CHANGES)(self._rng, holder, key, value)
        return value

    def _cut(self, raw: bytes) -> bytes:
        rng = self._rng
        at = rng.randrange(len(raw) + 1)
        junk = rng.choice(
            (b"", b"\xff", b"\xed\xa0\x80", b"\0", b"\xef\xbb\xbf", b"NaN", b"]", b"}", b'"', b"[" * 5000)
        )
        return raw[:at] + junk + raw[at + rng.choice((0, 1, len(junk), len(raw))) :]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys: Any = list(holder) if isinstance(holder, dict) else range(min(len(holder), 8))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list) and len(waiting) < 60:
                waiting.append(holder[key])


def _replace(rng: random.Random, holder: Any, key: Any, _whole: Any) -> None:
    holder[key] = copy.deepcopy(rng.choice(ODD))


def _remove(_rng: random.Random, holder: Any, key: Any, _whole: Any) -> None:
    del holder[key]


def _rename(rng: random.Random, holder: Any, key: Any, _whole: Any) -> None:
    if isinstance(holder, dict):
        holder[rng.choice((*IDS, "class_type", "inputs", "images", "width", "seed"))] = holder.pop(key)


def _relink(rng: random.Random, holder: Any, key: Any, whole: Any) -> None:
    """A link to any node, mostly making a cycle or a wrong type."""
    prompt = whole.get("prompt") if isinstance(whole, dict) else None
    ids = list(prompt) if isinstance(prompt, dict) and prompt else ["1"]
    holder[key] = [rng.choice(ids), rng.choice((0, 0, 0, 1, 2, 7, -1))]


def _swap(rng: random.Random, holder: Any, key: Any, whole: Any) -> None:
    other, other_key = rng.choice(list(_places(whole)))
    first, second = copy.deepcopy(holder[key]), copy.deepcopy(other[other_key])
    holder[key], other[other_key] = second, first


def _listed(_rng: random.Random, holder: Any, key: Any, _whole: Any) -> None:
    if isinstance(holder[key], dict):
        holder[key] = list(holder[key].values())
    elif isinstance(holder[key], list):
        holder[key] = {str(index): item for index, item in enumerate(holder[key])}


_CHANGES: tuple[Callable[[random.Random, Any, Any, Any], None], ...] = (
    _replace, _replace, _replace, _remove, _rename, _relink, _relink, _swap, _listed,
)  # fmt: skip


def outcome(raw: bytes, catalogue: Catalogue) -> str:
    """What the front and the bridge make of a body, by the real code; raises what nobody handles."""
    try:
        body = read_text(raw)
        request = translate.submit_request(body if isinstance(body, dict) else {})
        if not request.prompt_json:
            raise InvalidPrompt("no prompt was given", reason="NO_PROMPT", body=dict(NO_PROMPT))
        targets = tuple(request.partial_execution_targets) if request.targets_given else None
        found = validate(parse(request.prompt_json), catalogue, LISTS, targets)
        if not found.ok:
            raise InvalidPrompt("refused", reason="REFUSED", body={**found.body()})
    except MalformedRequest as malformed:
        assert str(malformed), "it must say what is wrong"
        return "unreadable"
    except HeliographError as error:
        answer = answers.error_answer(error)
        told = json.loads(bytes(answer.body))
        assert 400 <= answer.status_code < 500 and told["error"]["type"] and told["error"]["message"], told
        return f"{answer.status_code} {told['error']['type']}"
    text = json.dumps(found.graph.as_json(), allow_nan=False)
    again = validate(parse(text), catalogue, LISTS, targets)
    assert again.ok and again.outputs == found.outputs and again.graph == found.graph
    json.dumps(dict(found.node_errors), allow_nan=False)
    return "200 with node errors" if found.node_errors else "200"


def run(inputs: int | None, seed: int) -> Counter[str]:
    """Counts outcomes. Raises AssertionError naming the body that nobody handles."""
    catalogue = builtin_catalogue()
    seen: Counter[str] = Counter()
    for raw in itertools.islice(Requests(seed, catalogue), inputs):
        try:
            seen[outcome(raw, catalogue)] += 1
        except Exception as error:  # boundary: told with the body that caused it
            raise AssertionError(f"{type(error).__name__}: {error} for {raw[:3000]!r}") from error
        if inputs is None and seen.total() % 100_000 == 0:
            print(dict(seen))
    return seen


if __name__ == "__main__":
    how_many, which = (*(int(text) for text in sys.argv[1:]), *(None, None))[:2]
    print(run(how_many, random.SystemRandom().randrange(2**32) if which is None else which))
