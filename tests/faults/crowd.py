"""Takes every connection of a PostgreSQL server and cuts those of the service, until it is killed.

`python -m tests.faults.crowd URL`; prints `taken` when there is none left.
"""

import asyncio
import sys

import asyncpg

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'notifications%'"


async def take_all(url: str) -> None:
    taken: list[asyncpg.Connection[asyncpg.Record]] = [await asyncpg.connect(url)]
    alone = 0
    while True:
        # Whoever was cut connects again at once: cut until the crowd has taken its places.
        cut = await taken[0].fetch(CUT)
        try:
            while True:
                taken.append(await asyncpg.connect(url))
        except asyncpg.TooManyConnectionsError:
            alone = 0 if cut else alone + 1
        if alone == 3:
            print("taken", flush=True)
            alone = 0
            await asyncio.sleep(3_600)


if __name__ == "__main__":
    asyncio.run(take_all(sys.argv[1]))
