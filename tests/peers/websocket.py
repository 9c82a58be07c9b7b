"""A WebSocket server and its client: says where the one listens, is told of the gateway, says how the other fared."""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus


async def echo(socket):
    request = socket.request
    if request.headers.get("authorization") is None:
        await socket.send(request.path)
    async for message in socket:
        await socket.send(message)


async def refusal(url, headers):
    try:
        async with connect(url, additional_headers=headers, proxy=None):
            return [101, None]
    except InvalidStatus as error:
        return [error.response.status_code, json.loads(error.response.body)["code"]]


async def fare(told):
    url = f"ws://{told['gateway']}"
    key = {"authorization": f"Bearer {told['secret']}"}
    out = {}
    async with connect(url + "/v1/ws?x=1", additional_headers=key, proxy=None, max_size=None) as socket:
        out["path"] = await socket.recv()
        out["echoed"] = True
        for message in ("hello", "", "ü" * 1000, b"\0\xff", bytes(range(256)) * 4000):
            await socket.send(message)
            out["echoed"] &= await socket.recv() == message
        await (await socket.ping())
        out["pinged"] = True
    out["without_key"] = await refusal(url + "/v1/ws", {})
    out["unknown_key"] = await refusal(url + "/v1/ws", {"authorization": "Bearer unknown"})
    async with connect(url + "/v1/ws", additional_headers=key, proxy=None, ping_interval=None) as socket:
        await socket.recv()
        await asyncio.sleep(5)
        await socket.send("still there")
        out["after_silence"] = await socket.recv() == "still there"
    async with connect(url + "/idle/ws", additional_headers=key, proxy=None, ping_interval=None) as socket:
        await socket.recv()
        try:
            await asyncio.wait_for(socket.recv(), 60)
            out["silent_too_long"] = False
        except ConnectionClosed:
            out["silent_too_long"] = True
    return out


async def main():
    async with serve(echo, "127.0.0.1", 0, ping_interval=None) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        told = json.loads(await asyncio.to_thread(sys.stdin.readline))
        print(json.dumps(await fare(told)), flush=True)


asyncio.run(main())
