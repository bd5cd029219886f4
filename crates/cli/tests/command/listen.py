# Prints what PGCacheWatch's queue hears, one event on each line, after a line that says that it listens.
import asyncio
import sys

import asyncpg
from pgcachewatch.listeners import PGEventQueue


async def main() -> None:
    connection = await asyncpg.connect(sys.argv[1])
    queue = PGEventQueue()
    await queue.connect(connection)
    print("listening", flush=True)
    while True:
        event = await queue.get()
        print(event.operation, event.table, event.channel, flush=True)


asyncio.run(main())
