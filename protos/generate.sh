#!/usr/bin/env bash
# Write Python code for every .proto into the folder named; stubs only for services.
set -euo pipefail
out=$(realpath "$1")
cd "$(dirname "$0")"
python -m grpc_tools.protoc -I . --python_out="$out" --mypy_out=quiet:"$out" $(find heliograph -name '*.proto' | LC_ALL=C sort)
python -m grpc_tools.protoc -I . --grpc_python_out="$out" --mypy_grpc_out=quiet:"$out" \
  $(find heliograph -name '*_service.proto' -o -name '*_provider.proto' | LC_ALL=C sort)
find "$out/heliograph" -type d -exec touch {}/__init__.py \;
