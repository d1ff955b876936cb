from __future__ import annotations

from typing import Annotated

import pytest
from annotated_types import Ge
from pydantic import Field, ValidationError

from kit.settings import KitSettings, SettingsError, env_example, unknown_variables


class Sample(KitSettings):
    """A service."""

    queue_limit: Annotated[int, Ge(1)] = Field(256, description="Prompts that may wait.")
    grace_s: Annotated[float, Ge(0)] = 5.0


def test_environment_is_read_and_the_result_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_QUEUE_LIMIT", "7")
    settings = Sample.load()
    assert settings.queue_limit == 7
    with pytest.raises(ValidationError):
        settings.queue_limit = 8  # type: ignore[misc]


def test_explicit_values_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_QUEUE_LIMIT", "7")
    assert Sample.load(queue_limit=9).queue_limit == 9


def test_all_problems_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_QUEUE_LIMIT", "0")
    monkeypatch.setenv("HELIOGRAPH_GRACE_S", "soon")
    with pytest.raises(SettingsError) as caught:
        Sample.load()
    assert "HELIOGRAPH_QUEUE_LIMIT" in str(caught.value) and "HELIOGRAPH_GRACE_S" in str(caught.value)


def test_example_names_each_variable_once_with_default_and_description() -> None:
    class Other(Sample):
        """Another."""

        name: str = "x"

    text = env_example([Sample, Other])
    assert text.count("HELIOGRAPH_QUEUE_LIMIT=256") == 1
    assert "# Prompts that may wait." in text and "#HELIOGRAPH_NAME=x" in text


def test_misspelt_variables_are_found() -> None:
    environ = {"HELIOGRAPH_QUEUE_LIMT": "1", "HELIOGRAPH_GRACE_S": "1", "PATH": ""}
    assert unknown_variables([Sample], environ) == ["HELIOGRAPH_QUEUE_LIMT"]
