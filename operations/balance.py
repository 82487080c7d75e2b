"""One address before several coordinators of this machine, for `fleet.sh`; elsewhere take a load balancer.

python balance.py PORT TARGET_PORT...: each connection goes to the next target that takes it.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from itertools import count


async def passed_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """All bytes of one direction, until one end goes."""
    try:
        while piece := await source.read(65_536):
            target.write(piece)
            await target.drain()
    except ConnectionError:
        return  # so does the other direction
    finally:
        target.close()


async def main(port: int, targets: list[int]) -> None:
    turns = count()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = next(turns)
        with closing(writer):
            for offset in range(len(targets)):
                try:
                    up = await asyncio.open_connection("127.0.0.1", targets[(turn + offset) % len(targets)])
                except OSError:
                    continue  # that coordinator does not run
                await asyncio.gather(passed_on(reader, up[1]), passed_on(up[0], writer))
                return

    async with await asyncio.start_server(connected, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), [int(word) for word in sys.argv[2:]]))
