"""A KServe v2 server for tests: one model that doubles `x` into `out`, with shared memory, and faults on demand."""

from __future__ import annotations

import mmap
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as pb_grpc

from kit.serve import channel_options
from kit.tensors import from_raw, kserve_name


@dataclass
class Doubler(pb_grpc.GRPCInferenceServiceServicer):
    """Counts calls; `hold` makes calls wait; `fail` holds the statuses that the next calls end with."""

    models: set[str] = field(default_factory=lambda: {"double"})
    regions: dict[str, mmap.mmap] = field(default_factory=dict)
    fail: list[grpc.StatusCode] = field(default_factory=list)
    hold: threading.Event | None = None
    entered: threading.Event = field(default_factory=threading.Event)
    calls: int = 0
    shared_outputs: int = 0
    refuse_regions: bool = False

    def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:
        if self.refuse_regions:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no shared memory here")
        descriptor = os.open(Path("/dev/shm") / request.key.lstrip("/"), os.O_RDWR)
        self.regions[request.name] = mmap.mmap(descriptor, request.byte_size)
        os.close(descriptor)
        return pb.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request: Any, context: Any) -> Any:
        self.regions.pop(request.name, None)
        return pb.SystemSharedMemoryUnregisterResponse()

    def ModelInfer(self, request: Any, context: Any) -> Any:
        self.calls += 1
        self.entered.set()
        if self.hold is not None:
            self.hold.wait(10)
        if self.fail:
            context.abort(self.fail.pop(0), "as the test wants it")
        if request.model_name not in self.models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model {request.model_name}")
        response = pb.ModelInferResponse(model_name=request.model_name)
        array = self._input(request, context) * np.float32(2)
        wanted = {output.name: output for output in request.outputs}
        tensor = response.outputs.add(name="out", datatype=kserve_name(array.dtype), shape=array.shape)
        place = wanted["out"].parameters if "out" in wanted else {}
        if "shared_memory_region" in place:
            self.shared_outputs += 1
            view = self._view(place, context)
            view[: array.nbytes] = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
            tensor.parameters["shared_memory_region"].string_param = place["shared_memory_region"].string_param
        else:
            response.raw_output_contents.append(array.tobytes())
        return response

    def _input(self, request: Any, context: Any) -> Any:
        tensor = request.inputs[0]
        if "shared_memory_region" in tensor.parameters:
            return from_raw(tensor.datatype, tensor.shape, self._view(tensor.parameters, context))
        return from_raw(tensor.datatype, tensor.shape, request.raw_input_contents[0])

    def _view(self, place: Any, context: Any) -> Any:
        name = place["shared_memory_region"].string_param
        if name not in self.regions:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Unable to find shared memory region: '{name}'")
        offset = place["shared_memory_offset"].int64_param
        size = place["shared_memory_byte_size"].int64_param
        return np.frombuffer(self.regions[name], np.uint8)[offset : offset + size]


def serve(doubler: Doubler, address: str = "127.0.0.1:0") -> tuple[grpc.Server, int]:
    """A started server and its port."""
    server = grpc.server(ThreadPoolExecutor(8), options=channel_options())
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(doubler, server)
    port = server.add_insecure_port(address)
    server.start()
    return server, port


if __name__ == "__main__":
    started, bound = serve(Doubler())
    sys.stdout.write(f"{bound}\n")
    sys.stdout.flush()
    sys.stdin.read()
    started.stop(0)
