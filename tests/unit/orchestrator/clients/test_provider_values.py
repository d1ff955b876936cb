"""Our values as a provider sees them, and back."""

from __future__ import annotations

import gc
from typing import Any, cast

import numpy as np
import pytest
import torch

from kit.errors import InvalidRequest, Unready
from kit.node_values import Blocked, FileName, HandleRef, HostRef, Incoming, Outgoing, SameAs
from orchestrator.clients.provider_link import ProviderLink
from orchestrator.clients.provider_values import CallValues, RemoteHandle
from orchestrator.graph.spec import Blocker, NodeSpec, Output
from orchestrator.values.models import FileRef, Model, NetworkRef
from orchestrator.values.tensors import CondEntry, Latent

MODEL = Model(NetworkRef("unet", FileRef("checkpoints", "a", "0"), "sd15_unet"))


class Link:
    """As much of a link as values need."""

    def __init__(self, address: str = "here") -> None:
        self.address = address
        self.holder = "me"
        self.released: list[tuple[str, str]] = []

    def release(self, holder: str, handle_id: str) -> None:
        self.released.append((holder, handle_id))


def call(*types: str, link: Link | None = None, lists: bool = False, **inputs: object) -> CallValues:
    outputs = tuple(Output(kind, kind, lists) for kind in types)
    return CallValues(cast(ProviderLink, link or Link()), "me", NodeSpec("T", "t", outputs=outputs), inputs)


def echoed(values: CallValues, value: Any) -> Any:
    message = Outgoing(values.outward).pack(value)
    return Incoming(values.inward).unpack(message)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_tensors_keep_type_and_content(dtype: torch.dtype) -> None:
    value = torch.arange(12).reshape(3, 4).to(dtype).T  # not contiguous
    found = echoed(call(), value)
    assert found.dtype == dtype and torch.equal(found, value)
    found += found  # it is ours to change


def test_latents_are_maps() -> None:
    latent = Latent(torch.ones(2, 4, 8, 8), torch.zeros(1, 1, 64, 64), (3, 4))
    values = call("LATENT")
    found = echoed(values, latent)
    assert sorted(found) == ["batch_index", "noise_mask", "samples"]
    (made,) = values.results([found], links=False)
    assert isinstance(made, Latent) and made.batch_index == (3, 4) and made.noise_mask is not None
    assert torch.equal(made.samples, latent.samples)


def test_conditioning_is_a_list_of_tensors_with_options_and_odd_options_come_back_themselves() -> None:
    odd = object()
    entry = CondEntry(torch.ones(1, 7, 4), torch.ones(1, 4), {"strength": 0.5, "control": odd})
    values = call("CONDITIONING")
    (found,) = values.results([echoed(values, (entry,))], links=False)
    assert isinstance(found, tuple) and isinstance(found[0], CondEntry)
    assert found[0].options["strength"] == 0.5 and found[0].options["control"] is odd
    assert found[0].pooled is not None and torch.equal(found[0].cross_attn, entry.cross_attn)


def test_models_are_ids_that_come_back_as_themselves_in_this_call_only() -> None:
    values = call()
    sent = values.outward(MODEL)
    assert isinstance(sent, HostRef) and sent.type == "MODEL" and values.inward(sent) is MODEL
    with pytest.raises(InvalidRequest):
        call().inward(sent)


def test_what_came_in_is_named_instead_of_sent() -> None:
    image, items = torch.ones(1), [1, MODEL]
    values = call(image=image, items=items, none=None)
    assert values.inward(SameAs("image")) is image and values.inward(SameAs("items", 1)) is MODEL
    assert values.inward(SameAs("none")) is None
    for wrong in (SameAs("other"), SameAs("items", 2), SameAs("items", -1), SameAs("image", 0)):
        with pytest.raises(InvalidRequest):
            values.inward(wrong)


def test_blockers_and_files() -> None:
    values = call()
    assert values.outward(Blocker("x")) == Blocked("x") and values.inward(Blocked(None)) == Blocker(None)
    assert values.inward(FileName("input", "a", "b.png")) == "a/b.png"
    assert values.inward(FileName("output", "", "b.png")) == "b.png [output]"


def test_a_handle_is_released_once_nobody_holds_it() -> None:
    link = Link()
    handle = call(link=link).inward(HandleRef("h", 500))
    assert isinstance(handle, RemoteHandle) and handle.nbytes == 500 and not handle.lost
    assert call(link=link).outward(handle) == HandleRef("h", 500)
    del handle
    gc.collect()
    assert link.released == [("me", "h")]


def test_lost_and_foreign_handles_are_refused() -> None:
    link = Link()
    handle = call(link=link).inward(HandleRef("h"))
    with pytest.raises(InvalidRequest, match="another"):
        call(link=Link("else")).outward(handle)
    link.holder = "again"
    assert handle.lost
    values = CallValues(cast(ProviderLink, link), "again", NodeSpec("T", "t"), {})
    with pytest.raises(Unready) as caught:
        values.outward(handle)
    assert caught.value.reason == "HANDLE_LOST"


def test_results_take_their_declared_types() -> None:
    double = torch.from_numpy(np.ones((1, 2, 2, 3)))
    image, whole, number = call("IMAGE", "INT", "FLOAT").results([double, 3.0, 4], links=False)
    assert isinstance(image, torch.Tensor) and image.dtype == torch.float32
    assert (whole, type(whole), number, type(number)) == (3, int, 4.0, float)
    assert call("IMAGE").results([["n", 0]], links=True) == (["n", 0],)
    assert call("INT", lists=True).results([[1.0, Blocker()]], links=False) == ([1, Blocker()],)
    for wrong in ([5], [[double]], [torch.ones(2, 2)], []):
        with pytest.raises(InvalidRequest):
            call("IMAGE").results(wrong, links=False)
