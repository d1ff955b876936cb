"""What an operator may set for the REST bridge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from kit.settings import KitSettings

MIB = 1024 * 1024


class Settings(KitSettings):
    """REST bridge: ComfyUI's HTTP and WebSocket API."""

    rest_host: str = Field(
        "127.0.0.1", description="Address to listen on; beyond loopback put authentication before it"
    )
    rest_port: Annotated[int, Field(ge=0, le=65535)] = Field(8188, description="TCP port; 0: any free one")
    front_address: str = Field("127.0.0.1:8189", description="host:port of the orchestrator's front (gRPC)")
    model_address: str = Field("127.0.0.1:8190", description="host:port of the model service (gRPC)")
    node_providers: str = Field("", description="Services with nodes of their own: their files for browsers are shown")

    rest_origin_policy: Literal["strict", "comfyui"] = Field(
        "strict",
        description="strict: Host must be loopback, our own address or allowed, and Origin must match it; "
        "comfyui: as ComfyUI, which lets `Origin: null` and any non-loopback Host pass",
    )
    rest_allowed_hosts: str = Field("", description="Host names, comma separated, under which clients reach us")
    rest_cors_origin: str = Field("", description="Origin that may call us from a browser, * for all; empty: none")

    max_upload_mib: Annotated[int, Field(ge=1)] = Field(100, description="Largest uploaded file, MiB")
    data_dir: Path = Field(Path("data"), description="Folder of the user's files (user/default), with all other files")
    rest_user_files: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Files and folders that a web UI may keep with us"
    )
    rest_user_mib: Annotated[int, Field(ge=1)] = Field(1024, description="Size of all files that a web UI keeps, MiB")
    rest_templates_dir: str = Field(
        "", description="Folder whose subfolders' *.json are offered as workflow templates; empty: none"
    )
    rest_max_image_pixels: Annotated[int, Field(ge=1, le=89_000_000)] = Field(
        67_108_864, description="Largest picture that is decoded for previews and masks, pixels"
    )
    rest_call_timeout_s: Annotated[float, Field(gt=0)] = Field(20.0, description="Deadline of one call, seconds")
    rest_transfer_timeout_s: Annotated[float, Field(gt=0)] = Field(
        300.0, description="Deadline of one upload to the front, and of each chunk of a download, seconds"
    )
    rest_body_stall_s: Annotated[float, Field(gt=0)] = Field(
        30.0, description="How long a request's body may make no progress, and its head may take, seconds"
    )
    rest_socket_limit: Annotated[int, Field(ge=1)] = Field(1024, description="WebSocket clients at once")
    rest_socket_buffer_mib: Annotated[int, Field(ge=1, le=1024)] = Field(
        16, description="Unsent data of one WebSocket client before it is dropped, MiB"
    )
    rest_socket_buffer_messages: Annotated[int, Field(ge=16)] = Field(
        4096, description="Unsent messages of one WebSocket client before it is dropped"
    )
    rest_legacy_previews: bool = Field(
        False, description="Previews also to WebSocket clients that did not announce supports_preview_metadata"
    )
    rest_web_ui: Literal["auto", "on", "off"] = Field(
        "auto", description="ComfyUI's web UI at /: auto shows it where it is installed (extra `ui`), else our own page"
    )
    rest_reconnect_s: Annotated[float, Field(ge=0)] = Field(
        60.0, description="How long what a WebSocket client misses is kept for it after it left, seconds; 0: not at all"
    )
    rest_drain_s: Annotated[float, Field(ge=0)] = Field(10.0, description="Time for open requests at shutdown, seconds")
    rest_access_log: bool = Field(False, description="Log every request")
    telemetry: Literal["off", "otlp", "console"] = Field("off", description="Where spans and metrics go")
    telemetry_endpoint: str = Field("", description="host:port of an OTLP/gRPC collector; empty: OpenTelemetry's own")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe entries shown")

    @property
    def max_upload_bytes(self) -> int:
        """Largest request body, bytes."""
        return self.max_upload_mib * MIB

    @property
    def provider_addresses(self) -> tuple[str, ...]:
        """Of `node_providers`, in order; the front checks them."""
        return tuple(part.strip() for part in self.node_providers.split(",") if part.strip())

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Host names in lower case, without ports."""
        return frozenset(name.strip().lower() for name in self.rest_allowed_hosts.split(",") if name.strip())
