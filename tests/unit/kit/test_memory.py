"""The memory ceiling, in a process of its own: limits cannot be taken back for sure."""

from __future__ import annotations

import subprocess
import sys

from kit.memory import machine_bytes

LIMITED = """
import mmap
from kit.memory import lift_memory_limit, limit_memory
{body}
"""


def _run(body: str) -> str:
    command = (sys.executable, "-c", LIMITED.format(body=body))
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=50).stdout.strip()


def test_an_allocation_beyond_it_fails_and_a_smaller_one_works() -> None:
    body = "limit_memory(200 << 20)\ntry:\n    bytearray(400 << 20)\n"
    body += "except MemoryError:\n    print(len(bytearray(20 << 20)))"
    assert _run(body) == str(20 << 20)


def test_shared_mappings_do_not_count() -> None:
    assert _run("limit_memory(100 << 20)\nprint(len(mmap.mmap(-1, 300 << 20)))") == str(300 << 20)


def test_a_lower_limit_stays_and_the_end_lifts_it() -> None:
    body = "limit_memory(100 << 20)\nlimit_memory(1 << 40)\n"
    assert _run(body + "try:\n    bytearray(200 << 20)\nexcept MemoryError:\n    print('refused')") == "refused"
    assert _run(body + "lift_memory_limit()\nprint(len(bytearray(200 << 20)))") == str(200 << 20)


def test_the_machine_has_some() -> None:
    assert machine_bytes() > 1 << 28
