"""NodeSpec -> a documentation page in Markdown."""

from __future__ import annotations

from orchestrator.graph.kinds import InputFile, Kind, OneOf
from orchestrator.graph.spec import Input, NodeSpec


def markdown(spec: NodeSpec) -> str:
    """One page: description, inputs with their limits, outputs."""
    title = spec.display_name or spec.id
    parts = [f"# {title}", "", f"`{spec.id}` · {spec.category or 'no category'} · lane {spec.lane}{_flags(spec)}", ""]
    if spec.description:
        parts += [spec.description, ""]
    if spec.inputs:
        parts += ["| input | type | required | accepts |", "|---|---|---|---|"]
        parts += [_input_row(item) for item in spec.inputs] + [""]
    if spec.outputs:
        parts += ["| output | type |", "|---|---|"]
        parts += [f"| {slot.name} | {slot.type}{' (list)' if slot.is_list else ''} |" for slot in spec.outputs] + [""]
    return "\n".join(parts)


def _flags(spec: NodeSpec) -> str:
    named = {"output node": spec.output_node, "deprecated": spec.deprecated, "experimental": spec.experimental}
    return "".join(f" · {name}" for name, is_set in named.items() if is_set)


def _input_row(item: Input) -> str:
    return f"| {item.name} | {item.kind.wire_type} | {'yes' if item.required else 'no'} | {_accepts(item.kind)} |"


def _accepts(kind: Kind) -> str:
    facts = [f"{name} {value}" for name, value in kind.known_options().items() if not isinstance(value, (dict, list))]
    if isinstance(kind, OneOf):
        facts += [f"files of `{kind.folder}`"] if kind.folder else []
        facts += [", ".join(f"`{value}`" for value in kind.values)] if kind.values else []
    if isinstance(kind, InputFile):
        facts.append(f"input file ({kind.content})")
    facts += [kind.tooltip] if kind.tooltip else []
    return "; ".join(facts).replace("|", "\\|").replace("\n", " ")
