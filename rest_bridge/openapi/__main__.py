"""`python -m rest_bridge.openapi [--check]`: see `document`."""

from __future__ import annotations

import sys

from rest_bridge.openapi.document import main

raise SystemExit(main(sys.argv[1:]))
