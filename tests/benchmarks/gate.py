"""`python -m tests.benchmarks.gate`: fails when a message costs our process more CPU than it may.

CPU a message, as a ratio to baseline A's in the same rounds, is the figure that depends least on the
machine and on what else runs on it.
"""

import sys

import uvloop

from tests.benchmarks.figures import spread
from tests.benchmarks.stage import set_up
from tests.benchmarks.suites.broker import OWN_CPU, drains

AT_MOST = 1.0
ROUNDS = 3
MESSAGES = 6_000


async def main() -> int:
    async with set_up() as stage:
        figures = await drains(stage, count=ROUNDS, messages=MESSAGES)
    ratio = spread(OWN_CPU.values(figures))
    passed = ratio.median <= AT_MOST
    print(
        f"CPU a message, ours / A: {ratio.median:.2f} [{ratio.least:.2f}-{ratio.most:.2f}], at most {AT_MOST}: "
        f"{'passed' if passed else 'FAILED'}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
