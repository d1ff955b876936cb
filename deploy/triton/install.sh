#!/usr/bin/env bash
# Installs a real NVIDIA Triton server for CPUs (Python backend only) into .venv-triton beside this checkout.
# Idempotent: a finished installation is recognised by its stamp and left alone.
#
#   deploy/triton/install.sh            install, or do nothing
#   deploy/triton/install.sh --check    exit 0 if installed, else name what is missing and exit 1
#
# TRITON_VENV names another place, PYTHON another interpreter (it must be CPython 3.11: the wheel's stub is built for it).
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
venv="${TRITON_VENV:-$root/.venv-triton}"
python="${PYTHON:-python3.11}"
wheel="nvidia-pytriton==0.7.0"
packages=("numpy==1.26.4" "onnxruntime==1.32.0")
stamp="$venv/.installed"
wanted="$wheel ${packages[*]}"

fail() { echo "triton: $*" >&2; exit 1; }

if [[ -f "$stamp" && "$(cat "$stamp")" == "$wanted" ]]; then
    [[ "${1:-}" == "--check" ]] || echo "triton: installed in $venv"
    exit 0
fi
[[ "${1:-}" != "--check" ]] || fail "not installed in $venv; run deploy/triton/install.sh"

[[ "$(uname -s)-$(uname -m)" == "Linux-x86_64" ]] || fail "the packaged server needs Linux on x86_64"
command -v "$python" >/dev/null || fail "$python is missing; on Debian: apt-get install python3.11 python3.11-venv"
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || fail "$python is not CPython 3.11"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "venv is missing; on Debian: apt-get install python3.11-venv"
"$python" - <<'PY' || fail "libpython3.11.so is missing (Triton's Python backend loads it); on Debian: apt-get install libpython3.11"
import ctypes, os, sys, sysconfig
name = "libpython3.11.so.1.0"
places = [sysconfig.get_config_var("LIBDIR") or "", os.path.join(sys.base_prefix, "lib")]
if not any(os.path.exists(os.path.join(place, name)) for place in places):
    ctypes.CDLL(name)
PY

"$python" -m venv --clear "$venv"
# The server's own dependencies are not needed: only its binaries are used, and they ask for other versions.
"$venv/bin/python" -m pip install --quiet "${packages[@]}"
"$venv/bin/python" -m pip install --quiet --no-deps "$wheel"

site="$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
server="$site/pytriton/tritonserver"
stub="$server/python_backend_stubs/3.11/triton_python_backend_stub"
[[ -x "$server/bin/tritonserver" || -f "$server/bin/tritonserver" ]] || fail "the wheel holds no tritonserver"
[[ -f "$stub" ]] || fail "the wheel holds no stub for Python 3.11"
chmod +x "$server/bin/tritonserver"
install -m 0755 "$stub" "$server/backends/python/triton_python_backend_stub"
printf '%s' "$wanted" > "$stamp"
echo "triton: installed in $venv"
