"""An inert pickle machine: it builds plain data and the records of one given vocabulary, and can run nothing.

The opcodes are those of Python's `pickletools` documentation, as far as `torch.save` writes them (protocols 2 to 5).
No class is ever imported and nothing of the file is called: a global is only looked up in a vocabulary, and applying
one hands its arguments to that vocabulary. Work is bounded by the length of the pickle and by the number of opcodes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from kit.errors import InvalidModel

MAX_PICKLE_BYTES = 32 << 20
MAX_OPCODES = 1_000_000
MAX_INTEGER_BYTES = 16
MAX_GLOBAL_BYTES = 256


class Vocabulary(Protocol):
    """What a pickle may name. Each method raises `InvalidModel` for what it does not know."""

    def find(self, module: str, name: str) -> object:
        """The record that stands for a global; nothing may be imported."""

    def apply(self, function: object, arguments: tuple[object, ...]) -> object:
        """The record that calling `function` (a result of `find`) would give."""

    def update(self, target: object, state: object) -> None:
        """Restore `target`'s state, as far as anybody needs it."""

    def persistent(self, identity: object) -> object:
        """The record for something that is stored outside the pickle."""


@dataclass(frozen=True)
class Unpickled:
    """The value of one pickle and the position behind its STOP."""

    value: object
    end: int


def run_pickle(data: bytes, vocabulary: Vocabulary, start: int = 0) -> Unpickled:
    """Interpret one pickle in `data` from `start`; `InvalidModel` (PICKLE_*) names what is wrong or forbidden."""
    return _Machine(data, start, vocabulary).run()


class _Machine:
    def __init__(self, data: bytes, start: int, vocabulary: Vocabulary) -> None:
        self._data = data
        self._at = start
        self._vocabulary = vocabulary
        self._stack: list[object] = []
        self._marks: list[list[object]] = []
        self._memo: dict[int, object] = {}

    def run(self) -> Unpickled:
        for _ in range(MAX_OPCODES):
            code = self._take(1)[0]
            if code == _STOP:
                if len(self._stack) != 1 or self._marks:
                    self._refuse("the pickle ends with an unfinished value")
                return Unpickled(self._stack[0], self._at)
            step = _STEPS.get(code)
            if step is None:
                self._refuse("an opcode that model files do not use", opcode=f"0x{code:02x}")
            step(self)
        self._refuse("the pickle has more opcodes than any model", limit=MAX_OPCODES)

    def _refuse(self, message: str, **facts: object) -> NoReturn:
        raise InvalidModel(message, reason="PICKLE_BROKEN", at=self._at, **facts)

    # Bytes ----------------------------------------------------------------------------------------------------------

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if count < 0 or end > len(self._data):
            self._refuse("the pickle ends inside an opcode", wanted=count)
        part = self._data[self._at : end]
        self._at = end
        return part

    def _number(self, form: str) -> int:
        value: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return value

    def _line(self) -> str:
        end = self._data.find(b"\n", self._at, self._at + MAX_GLOBAL_BYTES)
        if end < 0:
            self._refuse("a name in the pickle is too long")
        line = self._take(end - self._at)
        self._at += 1
        return self._text(line)

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self._refuse("text in the pickle is not UTF-8")

    # Stack ----------------------------------------------------------------------------------------------------------

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> object:
        if not self._stack:
            self._refuse("the pickle takes from an empty stack")
        return self._stack.pop()

    def _top(self) -> object:
        if not self._stack:
            self._refuse("the pickle looks at an empty stack")
        return self._stack[-1]

    def _mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> list[object]:
        if not self._marks:
            self._refuse("the pickle closes a mark that it did not open")
        items = self._stack
        self._stack = self._marks.pop()
        return items

    # Literals -------------------------------------------------------------------------------------------------------

    def _long(self, length: int) -> None:
        if not 0 <= length <= MAX_INTEGER_BYTES:
            self._refuse("an integer is too long", bytes=length)
        self._push(int.from_bytes(self._take(length), "little", signed=True))

    def _string(self, form: str) -> None:
        self._push(self._text(self._take(self._number(form))))

    def _octets(self, form: str) -> None:
        self._push(self._take(self._number(form)))

    def _old_string(self, form: str) -> None:
        # Python 2 wrote text as bytes; names in such files are ASCII.
        self._push(self._take(self._number(form)).decode("latin-1"))

    def _protocol(self) -> None:
        version = self._number("<B")
        if not 2 <= version <= 5:
            self._refuse("a pickle protocol that model files do not use", protocol=version)

    def _frame(self) -> None:
        if self._number("<Q") > len(self._data) - self._at:
            self._refuse("a frame is longer than the pickle")

    def _double(self) -> None:
        self._push(struct.unpack(">d", self._take(8))[0])

    # Containers -----------------------------------------------------------------------------------------------------

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(items)))

    def _append(self, items: list[object]) -> None:
        target = self._top()
        if not isinstance(target, list):
            self._refuse("the pickle appends to something that is no list")
        target.extend(items)

    def _set_items(self, items: list[object]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            self._refuse("the pickle fills something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._key(key)] = value

    def _key(self, key: object) -> object:
        # Hashing a nested tuple can take exponential time; keys of models are names and numbers.
        if key is None or isinstance(key, (str, int, float, bytes)) or type(key).__hash__ is object.__hash__:
            return key
        self._refuse("a dictionary key is no name or number", type=type(key).__name__)

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _discard(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def _discard_marked(self) -> None:
        self._pop_mark()

    # Memory ---------------------------------------------------------------------------------------------------------

    def _remember(self, index: int) -> None:
        self._memo[index] = self._top()

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            self._refuse("the pickle recalls what it did not remember", index=index)
        self._push(self._memo[index])

    # Globals --------------------------------------------------------------------------------------------------------

    def _global(self) -> None:
        module = self._line()
        self._push(self._vocabulary.find(module, self._line()))

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            self._refuse("a global's name is no text")
        if len(name) > MAX_GLOBAL_BYTES or len(module) > MAX_GLOBAL_BYTES:
            self._refuse("a name in the pickle is too long")
        self._push(self._vocabulary.find(module, name))

    def _instance(self) -> None:
        # Protocol 0's short form of a global and its call.
        module = self._line()
        function = self._vocabulary.find(module, self._line())
        self._push(self._vocabulary.apply(function, tuple(self._pop_mark())))

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(arguments, tuple):
            self._refuse("a call's arguments are no tuple")
        self._push(self._vocabulary.apply(function, arguments))

    def _build(self) -> None:
        state = self._pop()
        self._vocabulary.update(self._top(), state)

    def _persistent(self) -> None:
        self._push(self._vocabulary.persistent(self._pop()))


_STOP = ord(".")

_STEPS: dict[int, Callable[[_Machine], None]] = {
    0x80: _Machine._protocol,
    0x95: _Machine._frame,
    ord("("): _Machine._mark,
    ord("0"): _Machine._discard,
    ord("1"): _Machine._discard_marked,
    ord("2"): lambda m: m._push(m._top()),
    ord("N"): lambda m: m._push(None),
    0x88: lambda m: m._push(True),
    0x89: lambda m: m._push(False),
    ord("J"): lambda m: m._push(m._number("<i")),
    ord("K"): lambda m: m._push(m._number("<B")),
    ord("M"): lambda m: m._push(m._number("<H")),
    0x8A: lambda m: m._long(m._number("<B")),
    0x8B: lambda m: m._long(m._number("<i")),
    ord("G"): _Machine._double,
    ord("X"): lambda m: m._string("<I"),
    0x8C: lambda m: m._string("<B"),
    0x8D: lambda m: m._string("<Q"),
    ord("U"): lambda m: m._old_string("<B"),
    ord("T"): lambda m: m._old_string("<i"),
    ord("B"): lambda m: m._octets("<I"),
    ord("C"): lambda m: m._octets("<B"),
    0x8E: lambda m: m._octets("<Q"),
    ord("]"): lambda m: m._push([]),
    ord("a"): lambda m: m._append([m._pop()]),
    ord("e"): lambda m: m._append(m._pop_mark()),
    ord("}"): lambda m: m._push({}),
    ord("s"): _Machine._set_item,
    ord("u"): lambda m: m._set_items(m._pop_mark()),
    ord(")"): lambda m: m._push(()),
    0x85: lambda m: m._tuple(1),
    0x86: lambda m: m._tuple(2),
    0x87: lambda m: m._tuple(3),
    ord("t"): lambda m: m._push(tuple(m._pop_mark())),
    ord("q"): lambda m: m._remember(m._number("<B")),
    ord("r"): lambda m: m._remember(m._number("<I")),
    0x94: lambda m: m._remember(len(m._memo)),
    ord("h"): lambda m: m._recall(m._number("<B")),
    ord("j"): lambda m: m._recall(m._number("<I")),
    ord("c"): _Machine._global,
    0x93: _Machine._stack_global,
    ord("i"): _Machine._instance,
    ord("R"): _Machine._reduce,
    0x81: _Machine._reduce,  # NEWOBJ: making an instance is one more call
    ord("b"): _Machine._build,
    ord("Q"): _Machine._persistent,
}
