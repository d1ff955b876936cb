"""Every class survives the way over the wire; our own faults lose their text."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from kit import errors, status

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.HeliographError)]
CLASSES.remove(errors.HeliographError)


class FailedCall(grpc.RpcError):
    """A failed call as a client sees it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailers: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._code, self._details, self._trailers = code, details, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return self._trailers


def over_the_wire(error: errors.HeliographError, trace_id: str = "") -> errors.HeliographError:
    sent = status.to_status(error, trace_id)
    return status.from_rpc_error(FailedCall(sent.code, sent.details, tuple(sent.trailing_metadata)))


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls is not errors.Internal])
def test_class_reason_message_and_facts_come_back(cls: type[errors.HeliographError]) -> None:
    got = over_the_wire(cls("it is wrong", reason="SOME_REASON", name="a.safetensors", limit=7))
    assert type(got) is cls
    assert (got.message, got.reason) == ("it is wrong", "SOME_REASON")
    assert got.facts == {"name": "a.safetensors", "limit": "7"}


@pytest.mark.parametrize("nodes", [1, 200])
def test_prompt_body_comes_back_unchanged(nodes: int) -> None:
    problem = {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": "n: 'v'",
        "extra_info": {"input_name": "n", "received_value": 1.5, "input_config": [["a"], None, 3]},
    }
    body = {
        "error": {"type": "x", "extra_info": {}},
        "node_errors": {str(n): {"errors": [problem], "class_type": "K"} for n in range(nodes)},
    }
    got = over_the_wire(errors.InvalidPrompt("refused", body=body))
    assert isinstance(got, errors.InvalidPrompt)
    assert got.body == body
    assert got.facts == {}


def test_big_prompt_body_fits_the_trailers_of_a_client_with_default_limits() -> None:
    problem = {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": "n: 'v' not in ['a', 'b']",
        "extra_info": {"input_name": "n", "received_value": "v"},
    }
    body = {"node_errors": {str(n): {"errors": [problem], "class_type": "KSampler"} for n in range(200)}}
    sent = status.to_status(errors.InvalidPrompt("refused", body=body))
    assert sum(len(key) + len(value) * 4 / 3 for key, value in sent.trailing_metadata) < 8192


def test_internal_error_tells_only_its_trace_id() -> None:
    sent = status.status_message(errors.Internal("/secret/path", path="/secret"), "abc")
    assert "secret" not in str(sent)
    assert over_the_wire(errors.Internal("/secret"), "abc").facts == {"trace_id": "abc"}


def test_details_by_kind() -> None:
    def details_of(error: errors.HeliographError) -> set[str]:
        return {detail.type_url.rsplit(".", 1)[1] for detail in status.status_message(error).details}

    assert details_of(errors.Busy("full")) == {"ErrorInfo", "RetryInfo"}
    assert details_of(errors.InvalidRequest("bad", name="../x")) == {"ErrorInfo", "BadRequest"}
    assert details_of(errors.NotFound("no", reason="PROMPT_NOT_FOUND", run_id="7")) == {"ErrorInfo", "ResourceInfo"}
    assert details_of(errors.Conflict("taken")) == {"ErrorInfo"}


def test_statuses_of_the_transport_become_typed() -> None:
    got = status.from_rpc_error(FailedCall(grpc.StatusCode.UNAVAILABLE, "connect failed"))
    assert isinstance(got, errors.Unready) and got.reason == "BACKEND_DOWN"
    got = status.from_rpc_error(FailedCall(grpc.StatusCode.DEADLINE_EXCEEDED, "late"))
    assert isinstance(got, errors.TooSlow) and got.reason == "CALL_DEADLINE"
    got = status.from_rpc_error(FailedCall(grpc.StatusCode.UNKNOWN, "boom"))
    assert isinstance(got, errors.Internal)


def test_foreign_details_are_not_taken_for_ours() -> None:
    foreign = status_pb2.Status(code=5, message="nope")
    foreign.details.add().Pack(error_details_pb2.ErrorInfo(reason="X", domain="elsewhere"))
    trailers = (("grpc-status-details-bin", foreign.SerializeToString()),)
    got = status.from_rpc_error(FailedCall(grpc.StatusCode.NOT_FOUND, "nope", trailers))
    assert isinstance(got, errors.NotFound) and got.reason == "NOT_FOUND"


def test_every_code_has_an_http_status() -> None:
    assert set(status.HTTP_STATUS) == set(errors.Code)


def test_half_a_surrogate_pair_travels_as_its_escape() -> None:
    message = status.status_message(errors.InvalidRequest("no node \ud800", node="\udfff"))
    assert message.message.startswith("no node \\ud800")
    assert message.SerializeToString()
