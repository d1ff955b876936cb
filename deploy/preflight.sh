#!/usr/bin/env bash
# Say what is missing before the installation starts, with the Debian package that brings it.
set -u
python=${1:-python3}
missing=0
need() { echo "missing: $1 (Debian: apt-get install $2)" >&2; missing=1; }
command -v "$python" >/dev/null || need "$python" python3
command -v git >/dev/null || need git git
if command -v "$python" >/dev/null; then
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || need "Python 3.11 or newer" python3
  "$python" -c 'import venv, ensurepip' 2>/dev/null || need "Python's venv module" python3-venv
fi
free_kib=$(df -Pk . | awk 'NR == 2 { print $4 }')
if [ "$free_kib" -lt $((4 * 1024 * 1024)) ]; then
  echo "only $((free_kib / 1024)) MiB free here; the installation takes about 4 GB, prepared models more" >&2
  missing=1
fi
exit $missing
