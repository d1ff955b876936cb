"""Server interceptors: a typed error becomes its status; anything else a fixed text, a trace id and a log entry."""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc

from kit import telemetry
from kit.errors import HeliographError, Internal, Unsupported
from kit.status import to_status

Continuation = Callable[[grpc.HandlerCallDetails], Any]


def _status_for(error: Exception, method: str, log: logging.Logger) -> grpc.Status:
    """Status of an error; what is not typed is logged with its traceback under the trace id that the client gets."""
    if isinstance(error, HeliographError) and not isinstance(error, Internal):
        return to_status(error)
    if isinstance(error, NotImplementedError) and str(error) == "Method not implemented!":  # generated base class
        return to_status(Unsupported("this server does not offer the method", reason="METHOD", method=method))
    trace = telemetry.trace_id() or secrets.token_hex(16)
    log.error("call failed: method=%s trace_id=%s", method, trace, exc_info=error)
    return to_status(error if isinstance(error, Internal) else Internal("unexpected"), trace)


def _rewrap(handler: Any, behaviour: Callable[..., Any]) -> Any:
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[(handler.request_streaming, handler.response_streaming)]
    return make(behaviour, handler.request_deserializer, handler.response_serializer)


def _behaviour(handler: Any) -> Callable[..., Any]:
    found: Callable[..., Any] = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    return found


class AioErrors(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Interceptor of asyncio servers; also one span per call."""

    def __init__(self, service: str) -> None:
        self._log = logging.getLogger(f"heliograph.{service}")

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """Wraps the handler of one call."""
        handler = await continuation(details)
        if handler is None:
            return None
        inner, method = _behaviour(handler), str(details.method)

        async def unary(request: Any, context: Any) -> Any:
            with telemetry.span(telemetry.SPAN_RPC, telemetry.incoming(details.invocation_metadata), method=method):
                try:
                    return await inner(request, context)
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    raise
                except Exception as error:  # noqa: BLE001  # boundary: the caller gets a status, the log the traceback
                    await context.abort_with_status(_status_for(error, method, self._log))

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            parent = telemetry.incoming(details.invocation_metadata)
            with telemetry.span_apart(telemetry.SPAN_RPC, parent, method=method):
                try:
                    answers = inner(request, context)
                    if inspect.isawaitable(answers):  # a servicer that writes by itself (health's Watch)
                        await answers
                        return
                    async for response in answers:
                        yield response
                except (asyncio.CancelledError, grpc.aio.AbortError, GeneratorExit):
                    raise
                except Exception as error:  # noqa: BLE001  # boundary: the caller gets a status, the log the traceback
                    await context.abort_with_status(_status_for(error, method, self._log))

        return _rewrap(handler, stream if handler.response_streaming else unary)


class SyncErrors(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Interceptor of synchronous servers; also one span per call."""

    def __init__(self, service: str) -> None:
        self._log = logging.getLogger(f"heliograph.{service}")

    def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        """Wraps the handler of one call."""
        handler = continuation(details)
        if handler is None:
            return None
        inner, method = _behaviour(handler), str(details.method)
        if getattr(inner, "experimental_non_blocking", False):  # health's Watch: answers by callback, raises nothing
            return handler

        def unary(request: Any, context: Any) -> Any:
            with telemetry.span(telemetry.SPAN_RPC, telemetry.incoming(details.invocation_metadata), method=method):
                try:
                    return inner(request, context)
                except Exception as error:  # noqa: BLE001  # boundary: the caller gets a status, the log the traceback
                    self._abort(context, error, method)

        def stream(request: Any, context: Any) -> Iterator[Any]:
            parent = telemetry.incoming(details.invocation_metadata)
            with telemetry.span_apart(telemetry.SPAN_RPC, parent, method=method):
                try:
                    yield from inner(request, context)
                except Exception as error:  # noqa: BLE001  # boundary: the caller gets a status, the log the traceback
                    self._abort(context, error, method)

        return _rewrap(handler, stream if handler.response_streaming else unary)

    def _abort(self, context: Any, error: Exception, method: str) -> None:
        if context.code() is not None:  # the servicer aborted by itself: its status stands
            raise error
        context.abort_with_status(_status_for(error, method, self._log))
