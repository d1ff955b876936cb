"""Regular expressions, as Python's `re` has them, in a process that ends when its time is over."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

from kit.errors import InvalidRequest, TooSlow
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Bool, Int, OneOf, Text
from orchestrator.nodes.bounds import MAX_TEXT
from orchestrator.ports import Ctx

_CATEGORY, _MODULE = "utils/string", "comfy_extras.nodes_string"
_STRING = (("STRING", "STRING"),)
LIMIT_S = 5.0
_POLL_S = 0.25
_PROCESS = Path(__file__).with_name("regex_process.py")

Lines = Annotated[str, Text(multiline=True)]
Flag = Annotated[bool, Bool()]


@node(
    "RegexMatch", category=_CATEGORY, display_name="Regex Match", python_module=_MODULE, v3=True,
    outputs=(("BOOLEAN", "matches"),),
)  # fmt: skip
def regex_match(
    ctx: Ctx, string: Lines, regex_pattern: Lines, case_insensitive: Flag = True, multiline: Flag = False,
    dotall: Flag = False,
) -> tuple[bool]:  # fmt: skip
    """Whether the pattern occurs in the text; no for a pattern that is none."""
    found = _run(ctx, "Match", string, regex_pattern, _flags(case_insensitive, multiline, dotall), lenient=True)
    return (found is True,)


@node("RegexExtract", category=_CATEGORY, display_name="Regex Extract", python_module=_MODULE, v3=True, outputs=_STRING)
def regex_extract(
    ctx: Ctx, string: Lines, regex_pattern: Lines,
    mode: Annotated[str, OneOf(("First Match", "All Matches", "First Group", "All Groups"))],
    case_insensitive: Flag = True, multiline: Flag = False, dotall: Flag = False,
    group_index: Annotated[int, Int(min=0, max=100)] = 1,
) -> tuple[str | None]:  # fmt: skip
    """What the pattern finds, one a line; nothing for a pattern that is none.

    All Matches gives the first group of a pattern that has groups. A First Group that took no part is no text at all.
    """
    flags = _flags(case_insensitive, multiline, dotall)
    found = _run(ctx, mode, string, regex_pattern, flags, group=group_index, lenient=True)
    texts = found if isinstance(found, list) else []
    if mode == "First Group" and texts:
        return (texts[0],)
    if None in texts:
        raise InvalidRequest(
            "the group takes part in some matches only: make it match an empty text instead", reason="REGEX_GROUP",
            group=group_index,
        )  # fmt: skip
    return ("\n".join(texts),)


@node("RegexReplace", category=_CATEGORY, display_name="Regex Replace", python_module=_MODULE, v3=True, outputs=_STRING)
def regex_replace(
    ctx: Ctx, string: Lines, regex_pattern: Lines, replace: Lines, *, case_insensitive: Flag = True,
    multiline: Flag = False, dotall: Flag = False, count: Annotated[int, Int(min=0, max=100)] = 0,
) -> tuple[str]:  # fmt: skip
    r"""The text with matches replaced (\1 is the first group); `count` of them, all for 0."""
    flags = _flags(case_insensitive, multiline, dotall)
    return (str(_run(ctx, "Replace", string, regex_pattern, flags, replace=replace, count=count)),)


def _flags(case_insensitive: bool, multiline: bool, dotall: bool) -> int:
    chosen = (case_insensitive, re.IGNORECASE), (multiline, re.MULTILINE), (dotall, re.DOTALL)
    return sum(int(flag) for wanted, flag in chosen if wanted)


def _run(
    ctx: Ctx, mode: str, string: str, pattern: str, flags: int, *, group: int = 0, replace: str = "", count: int = 0,
    lenient: bool = False,
) -> object:  # fmt: skip
    """The process's answer; None for a bad pattern if `lenient`. Raises InvalidRequest (REGEX), TooSlow, Stopped."""
    task = {
        "mode": mode, "string": string, "pattern": pattern, "flags": flags, "group": group, "replace": replace,
        "count": count, "limit": MAX_TEXT,
    }  # fmt: skip
    command = (sys.executable, "-I", "-S", "-W", "ignore", str(_PROCESS))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            content = _answer(ctx, process, json.dumps(task).encode("ascii"))
        finally:
            process.kill()
    try:
        reply = json.loads(content)
    except ValueError:
        reply = {"error": "memory", "cause": "the process ended early"}
    if "error" not in reply:
        return reply["value"]
    if lenient and reply["error"] == "pattern":
        return None
    if reply["error"] == "pattern":
        raise InvalidRequest("this is no regular expression", reason="REGEX", cause=reply["cause"])
    raise InvalidRequest(
        "this regular expression needs too much memory or finds too much in this text",
        reason="REGEX_SIZE",
        cause=reply["cause"],
    )


def _answer(ctx: Ctx, process: subprocess.Popen[bytes], task: bytes) -> bytes:
    deadline = time.monotonic() + LIMIT_S
    given: bytes | None = task
    while True:
        ctx.check_cancelled()
        try:
            return process.communicate(given, timeout=_POLL_S)[0]
        except subprocess.TimeoutExpired as waiting:
            given = None
            if time.monotonic() > deadline:
                raise TooSlow(
                    "this regular expression takes too long on this text: repeats inside repeats are often the cause",
                    reason="REGEX_TIME", limit_s=LIMIT_S,
                ) from waiting  # fmt: skip
