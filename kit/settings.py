"""Base of every service's settings: one frozen class, read once at start from the environment.

Variables are `HELIOGRAPH_<FIELD>`; `.env.example` is printed from the classes by `env_example`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import ValidationError
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "HELIOGRAPH_"


class SettingsError(SystemExit):
    """Settings are wrong; the text lists every problem. Ends the process with that text if nobody catches it."""


class KitSettings(BaseSettings):
    """Base class; fields carry their own bounds (`Annotated[int, Ge(1)]`) and a `description` with unit."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit values first, then the environment; nothing else is read behind the operator's back."""
        return (init_settings, env_settings)

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Reads and checks everything. Raises SettingsError with all problems, named by variable."""
        try:
            return cls(**overrides)
        except ValidationError as problem:
            raise SettingsError(_explain(problem)) from problem


def env_example(classes: Iterable[type[KitSettings]]) -> str:
    """Text of `.env.example`: every variable once, commented out, with its default and description."""
    lines: list[str] = []
    seen: set[str] = set()
    for cls in classes:
        section = [name for name in cls.model_fields if name not in seen]
        if section:
            lines += ["", f"# {(cls.__doc__ or cls.__name__).strip().splitlines()[0]}"]
        for name in section:
            seen.add(name)
            field = cls.model_fields[name]
            default = "" if field.default in (None, PydanticUndefined) else field.default
            lines += [f"# {field.description}"] if field.description else []
            lines.append(f"#{variable(name)}={default}")
    return "\n".join(lines).lstrip("\n") + "\n"


def unknown_variables(classes: Iterable[type[KitSettings]], environ: Mapping[str, str] | None = None) -> list[str]:
    """Variables with our prefix that no class reads (usually a misspelt name)."""
    known = {variable(name) for cls in classes for name in cls.model_fields}
    return sorted(name for name in (environ or os.environ) if name.startswith(PREFIX) and name not in known)


def variable(field: str) -> str:
    """Environment variable of a field."""
    return PREFIX + field.upper()


def _explain(problem: ValidationError) -> str:
    lines = [
        f"  {variable('.'.join(str(part) for part in entry['loc']))}: {entry['msg']} (given: {entry.get('input')!r})"
        for entry in problem.errors()
    ]
    return "settings are wrong:\n" + "\n".join(lines)
