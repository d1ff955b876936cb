"""docs/security.md names tests that exist."""

from __future__ import annotations

import ast
import re

from tests.support.stack import REPO

PAGE = REPO / "docs" / "security.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def defined_in(file: str) -> set[str]:
    """Names of test functions in a file."""
    tree = ast.parse((REPO / file).read_text("utf-8"))
    defined = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name for node in defined if node.name.startswith("test_")}


def test_every_named_test_exists() -> None:
    named = NAMED.findall(PAGE.read_text("utf-8"))
    assert len(named) > 40
    assert [f"{file}::{name}" for file, name in named if name not in defined_in(file)] == []


def test_every_attack_names_a_test() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")][1:]
    assert [row for row in rows if not NAMED.search(row)] == []
