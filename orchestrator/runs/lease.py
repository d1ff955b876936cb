"""A run in a worker's hands."""

from __future__ import annotations

import asyncio
import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.runs.line import Line


def new_lease_id() -> str:
    """A word that no other lease has or can guess."""
    return secrets.token_hex(16)


@dataclass(eq=False)
class Lease:
    """One worker's hold on one run; `void` once it has ended or passed on, and then nothing it says counts.

    `line` is the worker's; None after a restart, until the worker comes back or `deadline` (the event loop's seconds)
    passes. `began`: the worker is known to have begun, so its silence is a loss. The rest: handed out, begun for all
    to see, computed to the end, asked back, and asked back because nobody shall have it.
    """

    lease_id: str
    run_id: str
    deadline: float = math.inf
    began: bool = False
    void: bool = False
    line: Line | None = None
    delivered: bool = False
    announced: bool = False
    computed: bool = False
    recalled: bool = False
    unwanted: bool = False
    _decided: asyncio.Future[None] | None = None

    @property
    def decided(self) -> asyncio.Future[None]:
        """Done when a lease that was asked back is back, or has begun."""
        if self._decided is None:
            self._decided = asyncio.get_running_loop().create_future()
        return self._decided

    def decide(self) -> None:
        """It is back, or has begun."""
        self.recalled = False
        if self._decided is not None and not self._decided.done():
            self._decided.set_result(None)

    def stop(self) -> None:
        """Tells the worker to stop the run; one that has not got the lease yet is told with it."""
        if self.line is not None and self.delivered:
            self.line.tell(cancelled=self.lease_id)
