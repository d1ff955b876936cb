"""The `heliograph` command; each command lives in its own file and imports what it needs only when called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kit.errors import HeliographError

app = typer.Typer(
    name="heliograph",
    help="ComfyUI workflows as a production service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

nodes = typer.Typer(help="ComfyUI's node packs, unmodified, in processes of their own.", no_args_is_help=True)
app.add_typer(nodes, name="nodes")

Server = Annotated[str, typer.Option(help="host:port of the gRPC API", envvar="HELIOGRAPH_FRONT_ADDRESS")]


@app.command()
def up(
    workers: Annotated[int, typer.Option(min=1, help="worker processes")] = 1,
    serving: Annotated[str, typer.Option(envvar="HELIOGRAPH_SERVING", help="embedded or triton")] = "embedded",
    external_triton: Annotated[
        bool, typer.Option(help="use the Triton at HELIOGRAPH_TRITON_ADDRESS, start none here")
    ] = False,
    custom_nodes: Annotated[
        list[Path] | None,
        typer.Option(help="node pack, or folder of packs, served in a process of its own; repeatable"),
    ] = None,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    from cli.up import run_services

    raise typer.Exit(run_services(workers, serving, external_triton, custom_nodes or ()))


Packs = Annotated[list[Path], typer.Argument(help="pack (folder or .py file), or folder of packs; repeatable")]
Python = Annotated[Path | None, typer.Option(help="interpreter of the packs' own virtual environment")]


@nodes.command("serve")
def nodes_serve(
    paths: Packs,
    listen: Annotated[str, typer.Option(help="host:port")] = "127.0.0.1:8195",
    python: Python = None,
) -> None:
    """Serve packs until Ctrl-C; name the address in HELIOGRAPH_NODE_PROVIDERS."""
    from cli.nodes import serve_packs

    raise typer.Exit(serve_packs(paths, listen, python))


@nodes.command("check")
def nodes_check(paths: Packs, python: Python = None) -> None:
    """Load packs and say what they have, and what cannot be had here."""
    from cli.nodes import check_packs

    raise typer.Exit(check_packs(paths, python))


@app.command()
def run(
    workflow: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="workflow in API format, or a PNG")],
    prompt: Annotated[str | None, typer.Option(help="text of the prompt, wherever the workflow has it")] = None,
    negative: Annotated[str | None, typer.Option(help="text of the negative prompt")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="NODE.INPUT=VALUE, repeatable")] = None,
    upload: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="a file that the workflow loads, repeatable")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for the files")] = Path("pictures"),
    server: Server = "127.0.0.1:8189",
    timeout_s: Annotated[float, typer.Option("--timeout", help="seconds until the run is cancelled")] = 3600.0,
) -> None:
    """Run a workflow, show its progress, download what it makes. Ctrl-C cancels the run."""
    from cli.run import Changes, run_workflow

    changes = Changes(set_ or [], prompt, negative, upload or [])
    raise typer.Exit(run_workflow(workflow, changes, out, server=server, timeout_s=timeout_s))


@app.command()
def explain(
    workflow: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="workflow, any format, or a PNG")],
    server: Server = "127.0.0.1:8189",
) -> None:
    """Say what a workflow would do here: what is missing, what would run, roughly how long. Runs nothing."""
    from cli.explain import explain_workflow

    raise typer.Exit(explain_workflow(workflow, server=server))


@app.command()
def models(
    folder: Annotated[str | None, typer.Argument(help="only this folder kind, e.g. checkpoints")] = None,
) -> None:
    """List the model files found, with family, precision and size."""
    from cli.models import list_models

    raise typer.Exit(list_models(folder))


@app.command()
def doctor() -> None:
    """Say what is missing or misconfigured on this machine."""
    from cli.doctor import diagnose

    raise typer.Exit(diagnose())


def main() -> None:
    """Entry point: typed errors become one line and exit status 1."""
    try:
        app()
    except HeliographError as error:
        print(f"heliograph: {error}", file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
