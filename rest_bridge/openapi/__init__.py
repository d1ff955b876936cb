"""The bridge's OpenAPI document, printed by code into `docs/openapi.yaml`, with what ComfyUI answers to nonsense."""
