"""What the front says between a lease's coming and its run's beginning."""

from __future__ import annotations

import grpc

from orchestrator.clients.front import FrontLink
from orchestrator.runs.line import Orders
from tests.support.runs import record


async def test_a_run_is_stopped_that_was_taken_and_not_yet_begun() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        link = FrontLink(channel, "w", heartbeat_s=1)
        run = record("a", lease_id="l1")
        link._hear(Orders(leases=[run]))
        offer = await link.next()
        link._hear(Orders(cancelled=["l1"]))
        told: list[str] = []
        assert offer.run is not None
        link.report(offer.run, lambda: told.append("stop"), lambda: told.append("lost"))
        assert told == ["stop"]
        await link.close(0)
