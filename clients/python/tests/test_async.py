"""The same calls in an event loop."""

import asyncio

import numpy as np
import pytest
from golden_bytes import read_golden
from harness import Server, eventually, plugin
from scripted import Scripted, answer

import graphpipe
from graphpipe import AsyncClient

A = np.arange(3, dtype="f4")


def test_calls_run_beside_each_other(echo):
    async def calls():
        async with AsyncClient(echo.url) as client:
            arrays = [np.full(100 * i, i) for i in range(50)]
            backs = await asyncio.gather(*map(client.infer, arrays))
            assert all(map(np.array_equal, backs, arrays))
            assert (await client.metadata()).name == "echo"
            both = await client.infer({"x": A, "y": 2 * A}, outputs=["p", "q"])
            assert both["q"].tolist() == (2 * A).tolist()
            large = np.random.RandomState(1).bytes(30 << 20)
            assert (await client.infer(np.frombuffer(large, "u1"))).tobytes() == large
            with pytest.raises(graphpipe.NotFound):
                await client.infer(A, model="nobody")

    asyncio.run(calls())


def test_map(echo):
    async def later():
        for i in range(20):
            await asyncio.sleep(0)
            yield np.full(3, i)

    async def calls():
        async with AsyncClient(echo.url) as client:
            for batches in later(), [np.full(3, i) for i in range(20)]:
                backs = [back[0] async for back in client.map(batches, in_flight=3)]
                assert backs == list(range(20))
            with pytest.raises(graphpipe.InvalidInput):
                async for _ in client.map([A, np.zeros(1, "c8"), A]):
                    pass

    asyncio.run(calls())


def test_cancelling_ends_the_run(tmp_path):
    async def calls(server):
        async with AsyncClient(server.url) as client:
            call = asyncio.ensure_future(client.infer(A, config=f"until={tmp_path}/none"))
            while server.metrics()["in_flight"] < 2:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            with pytest.raises(graphpipe.DeadlineExceeded):
                await client.infer(A, config=f"until={tmp_path}/none", timeout=0.2)
            assert (await client.infer(A)).tolist() == A.tolist()
        eventually(lambda: server.metrics()["connections"] == 1)

    with Server(engine=plugin("slow")) as server:
        asyncio.run(calls(server))


def test_errors_of_connections(tmp_path):
    one = answer(read_golden("resp_float32.bin"))

    def script(peer):
        peer.request()
        peer.send(one)

    async def calls(server):
        for address in f"unix:{tmp_path}/none", "127.0.0.1:1", "http://nobody.invalid:1":
            with pytest.raises(graphpipe.Unavailable, match="cannot connect"):
                await AsyncClient(address).infer(A)
        async with AsyncClient(server.url) as client:
            for closed in server.closed[:2]:
                assert (await client.infer(A)).dtype == "f4"
                assert closed.wait(30)
            with pytest.raises(graphpipe.DeadlineExceeded):
                await client.infer(A, timeout=0.1)

    with Scripted(script, script, lambda peer: peer.until_closed()) as server:
        asyncio.run(calls(server))
