"""What travels to one client over its socket."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """One message; `droppable` frames (previews) go first when a client lags, `passing` ones are soon old news."""

    payload: str | bytes
    droppable: bool = False
    passing: bool = False

    @property
    def size(self) -> int:
        """Approximate bytes."""
        return len(self.payload)

    @property
    def lasting(self) -> bool:
        """Whether a client that comes back later should still be told."""
        return not (self.droppable or self.passing)
