"""Texts: joining, cutting, comparing."""

from __future__ import annotations

from typing import Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Bool, Int, OneOf, Text
from orchestrator.nodes.bounds import bounded_text
from orchestrator.ports import Ctx

_CATEGORY, _MODULE = "utils/string", "comfy_extras.nodes_string"
_STRING = (("STRING", "STRING"),)
_BOOLEAN = (("BOOLEAN", "BOOLEAN"),)
Lines = Annotated[str, Text(multiline=True)]
CaseSensitive = Annotated[bool, Bool()]


@node(
    "StringConcatenate", category=_CATEGORY, display_name="Concatenate", python_module=_MODULE, v3=True, outputs=_STRING
)
def string_concatenate(
    ctx: Ctx, string_a: Lines, string_b: Lines, delimiter: Annotated[str, Text(multiline=False)] = ""
) -> tuple[str]:
    """Two texts with something between them."""
    bounded_text(len(string_a) + len(delimiter) + len(string_b))
    return (f"{string_a}{delimiter}{string_b}",)


@node("StringSubstring", category=_CATEGORY, display_name="Substring", python_module=_MODULE, v3=True, outputs=_STRING)
def string_substring(ctx: Ctx, string: Lines, start: Annotated[int, Int()], end: Annotated[int, Int()]) -> tuple[str]:
    """The characters from `start` up to but without `end`; negative numbers count from the end of the text."""
    return (string[start:end],)


@node(
    "StringLength", category=_CATEGORY, display_name="Length", python_module=_MODULE, v3=True,
    outputs=(("INT", "length"),),
)  # fmt: skip
def string_length(ctx: Ctx, string: Lines) -> tuple[int]:
    """How many characters (code points) a text has."""
    return (len(string),)


@node(
    "CaseConverter", category=_CATEGORY, display_name="Case Converter", python_module=_MODULE, v3=True, outputs=_STRING
)
def case_converter(
    ctx: Ctx, string: Lines,
    mode: Annotated[str, OneOf(("UPPERCASE", "lowercase", "Capitalize", "Title Case"))],
) -> tuple[str]:  # fmt: skip
    """The text in capitals, in small letters, with one capital at its start or one at the start of every word."""
    match mode:
        case "UPPERCASE":
            return (string.upper(),)
        case "lowercase":
            return (string.lower(),)
        case "Capitalize":
            return (string.capitalize(),)
    return (string.title(),)


@node("StringTrim", category=_CATEGORY, display_name="Trim", python_module=_MODULE, v3=True, outputs=_STRING)
def string_trim(ctx: Ctx, string: Lines, mode: Annotated[str, OneOf(("Both", "Left", "Right"))]) -> tuple[str]:
    """The text without white space at its ends."""
    match mode:
        case "Left":
            return (string.lstrip(),)
        case "Right":
            return (string.rstrip(),)
    return (string.strip(),)


@node("StringReplace", category=_CATEGORY, display_name="Replace", python_module=_MODULE, v3=True, outputs=_STRING)
def string_replace(ctx: Ctx, string: Lines, find: Lines, replace: Lines) -> tuple[str]:
    """The text with every `find` replaced; an empty `find` stands between all characters."""
    bounded_text(len(string) + string.count(find) * (len(replace) - len(find)))
    return (string.replace(find, replace),)


@node(
    "StringContains", category=_CATEGORY, display_name="Contains", python_module=_MODULE, v3=True,
    outputs=(("BOOLEAN", "contains"),),
)  # fmt: skip
def string_contains(ctx: Ctx, string: Lines, substring: Lines, case_sensitive: CaseSensitive = True) -> tuple[bool]:
    """Whether a text occurs in another."""
    if not case_sensitive:
        string, substring = string.lower(), substring.lower()
    return (substring in string,)


@node("StringCompare", category=_CATEGORY, display_name="Compare", python_module=_MODULE, v3=True, outputs=_BOOLEAN)
def string_compare(
    ctx: Ctx, string_a: Lines, string_b: Lines,
    mode: Annotated[str, OneOf(("Starts With", "Ends With", "Equal"))], case_sensitive: CaseSensitive = True,
) -> tuple[bool]:  # fmt: skip
    """Whether the first text starts with, ends with or equals the second."""
    if not case_sensitive:
        string_a, string_b = string_a.lower(), string_b.lower()
    match mode:
        case "Starts With":
            return (string_a.startswith(string_b),)
        case "Ends With":
            return (string_a.endswith(string_b),)
    return (string_a == string_b,)
