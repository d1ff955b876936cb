"""Model-free prompts per second over HTTP from 8 clients, beside bare SQLite commits on the same disk."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import urllib.request
import uuid
from pathlib import Path

from bench.report import Row
from bench.service import model_free, service

CLIENTS = 8
PROMPTS_EACH = 100
COMMITS = 300
LIMIT_S = 300.0


def measure() -> list[Row]:
    """Durable prompts finished per second."""
    with service() as stack:
        _finish(stack.rest, 1, 8)  # warm-up
        seconds = _finish(stack.rest, CLIENTS, PROMPTS_EACH)
        commits = _commits_per_second(stack.data)
    rate = CLIENTS * PROMPTS_EACH / seconds
    return [
        Row("model-free prompts", rate, commits, "1/s", f"{CLIENTS} clients; baseline: SQLite commits, one row each")
    ]


def _finish(rest: str, clients: int, each: int) -> float:
    """Seconds from the first submission until the queue is empty again."""
    begun = time.perf_counter()
    threads = [threading.Thread(target=_submit, args=(rest, each)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    while _remaining(rest):
        if time.perf_counter() - begun > LIMIT_S:
            raise TimeoutError(f"not finished within {LIMIT_S:g} s")
        time.sleep(0.01)
    return time.perf_counter() - begun


def _submit(rest: str, count: int) -> None:
    for _ in range(count):
        body = json.dumps({"prompt": model_free(uuid.uuid4().int)}).encode()
        with urllib.request.urlopen(rest + "/prompt", body, timeout=60) as answer:
            answer.read()


def _remaining(rest: str) -> int:
    with urllib.request.urlopen(rest + "/prompt", timeout=60) as answer:
        return int(json.load(answer)["exec_info"]["queue_remaining"])


def _commits_per_second(folder: Path) -> float:
    database = sqlite3.connect(folder / "bench.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE rows (value TEXT)")
    begun = time.perf_counter()
    for number in range(COMMITS):
        with database:
            database.execute("INSERT INTO rows VALUES (?)", (str(number) * 100,))
    database.close()
    return COMMITS / (time.perf_counter() - begun)
