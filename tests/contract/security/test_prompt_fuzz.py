"""Fifty thousand damaged prompts through the real parsing, validation and error rendering; some through everything.

Open-ended, by hand: `python -m tests.support.prompt_fuzz`.
"""

from __future__ import annotations

import itertools
import json

import pytest

from tests.contract.security.conftest import Trapped
from tests.support.builtin import builtin_catalogue
from tests.support.prompt_fuzz import LISTS, Requests, outcome, run

SEEDS = range(10)
PER_SEED = 5000
THROUGH_EVERYTHING = 600
RECORDED_TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble\n\n"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_prompt_is_an_unhandled_error(seed: int) -> None:
    """Each is accepted, or refused with a type and a message; the accepted ones mean the same when read again."""
    seen = run(PER_SEED, seed)
    assert seen.total() == PER_SEED
    kinds = {"200", "unreadable", "400 invalid_prompt", "400 prompt_outputs_failed_validation", "400 prompt_no_outputs"}
    assert kinds <= set(seen), "these inputs try too little"


@pytest.mark.timeout(180)
def test_no_request_is_an_unhandled_error(trapped: Trapped) -> None:
    """Over HTTP, with the real front and its store behind."""
    statuses: dict[int, int] = {}
    for raw in itertools.islice(Requests(77, builtin_catalogue()), THROUGH_EVERYTHING):
        answer = trapped.served.request("POST", "/prompt", raw)
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        if answer.status == 500:
            said = answer.body.decode()
            assert said.startswith(RECORDED_TROUBLE) and len(said) > len(RECORDED_TROUBLE), raw[:2000]
        elif answer.status == 200:
            assert {"prompt_id", "number", "node_errors"} == set(answer.json)
        else:
            assert answer.status in (400, 409, 413, 429), (answer.status, raw[:2000])
            assert answer.json["error"]["type"] and answer.json["error"]["message"]
        for listed in ("/queue", "/prompt") if answer.status == 200 else ():
            json.loads(trapped.served.request("GET", listed).body)
    assert {200, 400, 500} <= set(statuses)
    trapped.served.post_json("/queue", {"clear": True})


def test_the_inputs_are_always_the_same() -> None:
    first, second = (list(itertools.islice(Requests(5, builtin_catalogue()), 50)) for _ in range(2))
    assert first == second and len(set(first)) == 50
    assert LISTS.input_exists("a.png")


def test_what_is_wrong_is_said() -> None:
    """The check would notice an answer without a reason."""
    catalogue = builtin_catalogue()
    assert outcome(b"{", catalogue) == "unreadable"
    assert outcome(b'{"prompt": {"1": {"class_type": "None such", "inputs": {}}}}', catalogue) == "400 invalid_prompt"
