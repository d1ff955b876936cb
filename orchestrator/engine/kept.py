"""Values of a run's nodes, by key, for as long as another node needs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

Values = tuple[tuple[object, ...], ...]


class Kept:
    """`keep_all`: nothing is let go before the run's end."""

    def __init__(self) -> None:
        self.keep_all = False
        self._values: dict[str, Values] = {}
        self._needed_by: Counter[str] = Counter()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def need(self, keys: Iterable[str]) -> None:
        """One more node takes its inputs from these."""
        self._needed_by.update(keys)

    def offer(self, key: str, values: Values) -> None:
        """Keeps values that somebody needs."""
        if self._needed_by[key] or self.keep_all:
            self._values[key] = values

    def hold(self, key: str, values: Values) -> None:
        """Keeps values whether or not anybody is known to need them."""
        self._values[key] = values

    def slot(self, key: str, number: int) -> tuple[object, ...] | None:
        """The values of one output; None: not at hand."""
        found = self._values.get(key)
        return None if found is None or number >= len(found) else found[number]

    def release(self, keys: Iterable[str]) -> None:
        """A node needs these no longer; what nobody needs is let go."""
        for key in keys:
            self._needed_by[key] -= 1
            if not self._needed_by[key]:
                self._values.pop(key, None)
