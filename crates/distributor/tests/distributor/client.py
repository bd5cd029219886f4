# Connects with PGCacheWatch's queue, sends events at once, and checks that each arrives, in order.
import asyncio
import datetime
import json
import sys

import asyncpg
import websockets
from pgcachewatch.listeners import WSEventQueue

DATABASE, URL, REPETITIONS = sys.argv[1], sys.argv[2], int(sys.argv[3])
EVENTS = 20


async def repetition(connection: asyncpg.Connection, number: int) -> None:
    channel = f"c{number % 7}"
    async with websockets.connect(URL + channel) as ws:
        queue = WSEventQueue()
        await queue.connect(ws, channel)
        for event in range(EVENTS):
            sent_at = datetime.datetime.now(tz=datetime.timezone.utc).isoformat()
            payload = {"operation": "insert", "table": f"t{number}_{event}", "sent_at": sent_at}
            await connection.execute("SELECT pg_notify($1, $2)", channel, json.dumps(payload))
        for event in range(EVENTS):
            received = await asyncio.wait_for(queue.get(), 30)
            assert received.table == f"t{number}_{event}", received
            assert received.channel == channel, received


async def main() -> None:
    connection = await asyncpg.connect(DATABASE)
    for number in range(REPETITIONS):
        await repetition(connection, number)
    print(f"{REPETITIONS} repetitions, {REPETITIONS * EVENTS} events", flush=True)


asyncio.run(main())
