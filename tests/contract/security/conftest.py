"""The bridge before a real front, over a data folder full of traps: links that lead out, and secrets beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.app.front import start_front
from orchestrator.app.settings import FrontSettings
from tests.contract.rest.conftest import _shared, served
from tests.contract.rest.served import Served, running_bridge
from tests.contract.rest.test_real_front import wait_for_front
from tests.support.stack import free_ports

__all__ = ["_shared", "served"]  # fixtures

SECRET = b"BEGIN SECRET KEY"
AREAS = ("input", "output", "temp")


@dataclass(frozen=True)
class Trapped:
    """A service, and the folder in which its data folder lies."""

    served: Served
    outside: Path

    @property
    def data(self) -> Path:
        return self.outside / "data"

    def leaks(self, body: bytes) -> bool:
        """Something of a file that is nobody's business."""
        return SECRET in body or b"root:" in body or b"SQLite format" in body

    def unchanged(self) -> bool:
        """Nothing beside the data folder was written, moved or deleted."""
        names = sorted(path.name for path in self.outside.iterdir())
        kept = (self.outside / "secret.png").read_bytes() == (self.outside / "private" / "key").read_bytes() == SECRET
        return names == ["data", "private", "secret.png", "templates"] and kept and self._alone("private", "key")

    def _alone(self, folder: str, file: str) -> bool:
        return [path.name for path in (self.outside / folder).iterdir()] == [file]


@pytest.fixture(scope="session")
def _trapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trapped]:
    outside = tmp_path_factory.mktemp("outside")
    data = outside / "data"
    (outside / "private").mkdir()
    (outside / "secret.png").write_bytes(SECRET)
    (outside / "private" / "key").write_bytes(SECRET)
    for folder in (*(data / area for area in AREAS), data / "user" / "default", outside / "templates" / "mine"):
        folder.mkdir(parents=True)
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    templates = str(outside / "templates")
    with running_bridge(
        front_address=address, data_dir=data, rest_web_ui="auto", rest_templates_dir=templates, max_upload_mib=2
    ) as served:
        front_settings = FrontSettings.load(data_dir=data, front_address=address, model_address=served.fakes_address)
        front = served.wait_on_loop(start_front(front_settings))
        wait_for_front(served)
        # The front empties `temp` when it starts: traps come after that.
        for folder in (*(data / area for area in AREAS), data / "user" / "default", outside / "templates" / "mine"):
            (folder / "fine.png").write_bytes(b"fine")
            (folder / "link.png").symlink_to(outside / "secret.png")
            (folder / "way").symlink_to(outside)
            (folder / "loop").symlink_to(folder / "loop")
        yield Trapped(served, outside)
        served.wait_on_loop(front.stop(0))


@pytest.fixture
def trapped(_trapped: Trapped) -> Iterator[Trapped]:
    """The service; whatever a test did to it, nothing beside its data folder may have changed."""
    yield _trapped
    assert _trapped.unchanged()
