"""`python -m tests.contract.kserve.served_apart FOLDER`: the embedded server in a process of its own, to be killed."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from tests.contract.kserve import networks
from tests.contract.kserve.servers import embedded

if __name__ == "__main__":
    with embedded() as server:
        server.publish(networks.slow(Path(sys.argv[1])))
        print(server.address, flush=True)
        threading.Event().wait()
