"""A node class written for ComfyUI (V1) as a ProvidedNode."""

from __future__ import annotations

import asyncio
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from node_host.nodes import Call, Function, ProvidedNode, as_fingerprint, call_with
from node_host.packs.declare import Declaration, declaration
from node_host.packs.dynprompt import DynPrompt
from node_host.packs.load import Pack
from node_host.packs.outcome import outcome
from node_host.packs.turns import Turns
from node_host.surface.running import running

_MAX_INSTANCES = 200


@dataclass(frozen=True)
class NodeClass:
    """A class with its names and whose it is."""

    class_type: str
    cls: type[Any]
    pack: Pack

    def declared(self) -> Declaration:
        """As of now."""
        return declaration(self.class_type, self.cls, self.pack.titles.get(self.class_type), self.pack.module)


class V1Node:
    """Calls one class; instances are kept by node id, as packs expect."""

    def __init__(self, of: NodeClass, turns: Turns) -> None:
        self._of = of
        self._cls = of.cls
        self._turns = turns
        self._instances: OrderedDict[str, Any] = OrderedDict()
        self._declared = of.declared()
        function = getattr(of.cls, str(getattr(of.cls, "FUNCTION", "")), None)
        if function is None:
            raise TypeError(f"{of.class_type} has no function {getattr(of.cls, 'FUNCTION', None)!r}")
        self._waits = inspect.iscoroutinefunction(function)
        self._whole_lists = bool(getattr(of.cls, "INPUT_IS_LIST", False))

    def refresh(self) -> bool:
        """Reads the declaration again; whether it has changed."""
        before, self._declared = self._declared, self._of.declared()
        return before != self._declared

    def provided(self) -> ProvidedNode:
        """As the provider serves it."""
        cls, declared = self._cls, self._declared
        return ProvidedNode(
            self._of.class_type,
            self._run,
            declared.info,
            version=self._of.pack.version,
            schedule="async" if self._waits else "cpu",
            input_is_list=self._whole_lists,
            extra_inputs=self._takes_anything(),
            expands=self._of.pack.expands,
            idempotent=not getattr(cls, "NOT_IDEMPOTENT", False),
            lazy=self._lazy if declared.lazy and hasattr(cls, "check_lazy_status") else None,
            fingerprint=self._fingerprint if hasattr(cls, "IS_CHANGED") else None,
            validate=self._validation(),
            any_type_inputs=declared.any_inputs,
            any_type_outputs=declared.any_outputs,
        )

    async def _run(self, call: Call, /, **inputs: Any) -> Any:
        declared = self._declared
        arguments = self._arguments(declared, inputs)
        with running(call, self._of.class_type):
            # Made where it runs: some packs read files then.
            method = partial(self._method, call.node_id, str(self._cls.FUNCTION), arguments)
            if self._waits:
                returned = await self._turns.coroutine(method)
            else:
                returned = await self._turns.plain(method)
        return outcome(returned, declared.types, declared.lists, call.id_prefix)

    async def _lazy(self, call: Call, /, **inputs: Any) -> list[str]:
        arguments = self._arguments(self._declared, inputs)
        method = partial(self._method, call.node_id, "check_lazy_status", arguments)
        with running(call, self._of.class_type):
            needed = await self._ask(self._cls.check_lazy_status, method)
        return [str(name) for name in needed or ()]

    async def _fingerprint(self, **literals: Any) -> str | None:
        # Linked inputs are None here, as in ComfyUI.
        given = {**dict.fromkeys(self._declared.required), **self._arguments(self._declared, literals)}
        function = self._cls.IS_CHANGED
        return as_fingerprint(await self._ask(function, partial(call_with, function, self._listed(given))))

    def _validation(self) -> Function | None:
        function = getattr(self._cls, "VALIDATE_INPUTS", None)
        if function is None:
            return None

        async def validate(**given: Any) -> Any:
            absent = dict.fromkeys(self._declared.required) if takes_any else {}
            return await self._ask(function, partial(call_with, function, self._listed({**absent, **given})))

        signature = inspect.signature(function)
        takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        validate.__signature__ = signature  # type: ignore[attr-defined]  # what the provider reads
        return validate

    async def _ask(self, function: Callable[..., Any], call: Callable[[], Any]) -> Any:
        """A short question: beside whatever runs."""
        if inspect.iscoroutinefunction(function):
            return await self._turns.coroutine(call)
        return await asyncio.to_thread(call)

    def _listed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {name: [value] for name, value in given.items()} if self._whole_lists else dict(given)

    def _arguments(self, declared: Declaration, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """With hidden inputs as packs know them."""
        # A lazy input that was not needed is None, and so is a hidden one that nobody can fill.
        absent = {name: [None] if self._whole_lists else None for name in declared.lazy if name in declared.required}
        found = {**absent, **inputs}
        for name, kind in declared.hidden.items():
            if kind == "DYNPROMPT" and name in found:
                value = found[name]
                found[name] = [DynPrompt(v) for v in value] if isinstance(value, list) else DynPrompt(value)
            found.setdefault(name, None)
        return found

    def _method(self, node_id: str, name: str, arguments: Mapping[str, Any]) -> Any:
        return getattr(self._instance(node_id), name)(**arguments)

    def _instance(self, node_id: str) -> Any:
        found = self._instances.pop(node_id, None)
        if found is None:
            found = self._cls()
        self._instances[node_id] = found
        while len(self._instances) > _MAX_INSTANCES:
            self._instances.popitem(last=False)
        return found

    def _takes_anything(self) -> bool:
        parameters = inspect.signature(getattr(self._cls, str(self._cls.FUNCTION))).parameters.values()
        return any(p.kind is p.VAR_KEYWORD for p in parameters)
