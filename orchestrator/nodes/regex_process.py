"""One regular expression, run as a process of its own that may be killed: JSON in, JSON out. Standard library only.

Memory and processor time are limited here as well, in case nobody is left to kill it.
"""

from __future__ import annotations

import json
import re
import resource
import sys

_MEMORY_BYTES = 1 << 30
_CPU_S = 20


def answer(task: dict[str, str | int]) -> object:
    """True or false, a text, or a list of texts (None: a group that took no part)."""
    pattern, string, group = str(task["pattern"]), str(task["string"]), int(task["group"])
    compiled = re.compile(pattern, int(task["flags"]))
    match task["mode"]:
        case "Match":
            return compiled.search(string) is not None
        case "Replace":
            return compiled.sub(str(task["replace"]), string, count=int(task["count"]))
        case "All Matches":
            # A pattern with groups gives the first group, not the whole match.
            return [found.group(min(compiled.groups, 1)) or "" for found in compiled.finditer(string)]
        case "First Match":
            first = compiled.search(string)
            return [first.group(0)] if first else []
        case "First Group":
            first = compiled.search(string)
            return [first.group(group)] if first and compiled.groups >= group else []
    return [found.group(group) for found in compiled.finditer(string) if 0 < compiled.groups >= group]


def main() -> None:
    """Reads one task from stdin, writes {"value": ...} or {"error": kind, "cause": text}."""
    for kind, limit in ((resource.RLIMIT_AS, _MEMORY_BYTES), (resource.RLIMIT_CPU, _CPU_S)):
        resource.setrlimit(kind, (limit, limit))
    try:
        task = json.load(sys.stdin)
        reply = json.dumps({"value": answer(task)})
        if len(reply) > int(task["limit"]):
            raise MemoryError
    except (re.error, OverflowError, RecursionError, IndexError) as error:
        reply = json.dumps({"error": "pattern", "cause": str(error)})
    except MemoryError:
        reply = json.dumps({"error": "memory", "cause": "out of memory"})
    sys.stdout.write(reply)


if __name__ == "__main__":
    main()
