"""All providers of nodes beside the built-in nodes: one catalogue, in which no class has two owners."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import grpc
from heliograph.graph.v1 import node_provider_pb2 as pb

from kit.errors import InvalidRequest
from kit.literal_values import pack_literal
from kit.status import from_rpc_error
from kit.telemetry import outgoing
from orchestrator.clients.provider_link import ProviderLink
from orchestrator.clients.provider_lists import ForeignNode
from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import Json

_LOG = logging.getLogger("heliograph.providers")

Owned = Mapping[str, tuple[ProviderLink, ForeignNode]]


class Owners:
    """Who has which class: built-in nodes come first, then providers in the order of the settings."""

    def __init__(self, builtin: Collection[str], links: Callable[[], Iterable[ProviderLink]]) -> None:
        self._builtin = frozenset(builtin)
        self._links = links
        self._told: set[tuple[str, str]] = set()

    def settle(self) -> Owned:
        """As of now; says once which classes are refused because somebody has them already."""
        owned: dict[str, tuple[ProviderLink, ForeignNode]] = {}
        for link in self._links():
            for class_type, node in link.nodes.items():
                if class_type in self._builtin or class_type in owned:
                    owner = owned[class_type][0].address if class_type in owned else "the installation"
                    self._refuse(link.address, class_type, owner)
                else:
                    owned[class_type] = (link, node)
        return owned

    def _refuse(self, address: str, class_type: str, owner: str) -> None:
        if (address, class_type) not in self._told and len(self._told) < 10_000:
            self._told.add((address, class_type))
            _LOG.warning("provider %s: class %r is refused, %s has it already", address, class_type, owner)


class NodeCatalogue:
    """Implements `runs.own_checks.NodeSource`; make it inside the event loop."""

    def __init__(self, builtin: Catalogue, addresses: Iterable[str], check_s: float) -> None:
        self._builtin = builtin
        self._check_s = check_s
        self._links: list[ProviderLink] = []
        self._owners = Owners(builtin, lambda: self._links)
        self._owned: Owned = {}
        self._catalogue = builtin
        self._links += [ProviderLink(address, self._settle) for address in addresses]

    def catalogue(self) -> Catalogue:
        """Built-in nodes, then those of providers, of absent ones as last known."""
        return self._catalogue

    async def refusal(self, node_type: str, inputs: Mapping[str, Json], input_types: Mapping[str, str]) -> str | None:
        """See the protocol."""
        if node_type not in self._owned:
            return None
        link, _ = self._owned[node_type]
        link.require(node_type)

        try:
            values = {name: pack_literal(value) for name, value in inputs.items()}
        except InvalidRequest as problem:
            return problem.message
        message = pb.ValidateRequest(class_type=node_type, inputs=values, input_types=dict(input_types))
        try:
            answer = await link.stub.Validate(message, timeout=self._check_s, metadata=outgoing())
        except grpc.RpcError as problem:
            raise from_rpc_error(problem) from problem
        return None if answer.valid else answer.message[:2000]

    async def close(self) -> None:
        """Ends all links."""
        await asyncio.gather(*(link.close() for link in self._links))

    def _settle(self) -> None:
        self._owned = self._owners.settle()
        foreign: list[Any] = [node.spec for _, node in self._owned.values()]
        self._catalogue = Catalogue.of([*self._builtin.values(), *foreign])
