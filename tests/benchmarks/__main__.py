"""`python -m tests.benchmarks [NAMES…] [--rounds N] [--messages N] [--json | --profile]`: see docs/benchmarks.md."""

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence

import uvloop

from tests.benchmarks import report
from tests.benchmarks.figures import Figures, Goal, Result
from tests.benchmarks.stage import Stage, set_up
from tests.benchmarks.suites import broker
from tests.benchmarks.suites.backlog import backlog
from tests.benchmarks.suites.importing import importing
from tests.benchmarks.suites.intake import intake
from tests.benchmarks.suites.latency import latency
from tests.benchmarks.suites.profile import profile
from tests.benchmarks.suites.senders import senders
from tests.benchmarks.suites.starting import starting
from tests.benchmarks.suites.support import support

Suite = Callable[[Stage, int, int], Awaitable[tuple[Figures, list[Goal]]]]

SUITES: dict[str, Suite] = {
    "drain": broker.steady,
    "slow": broker.slow_provider,
    "peers": broker.peers,
    "processes": broker.processes,
    "backlog": backlog,
    "intake": intake,
    "latency": latency,
    "start": starting,
    "senders": senders,
    "import": importing,
    "support": support,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measure the speed of the service."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"what to measure, default all: {', '.join(SUITES)}"
    )
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (5)")
    parser.add_argument("--messages", type=int, default=20_000, help="messages of one run (20000)")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    parser.add_argument(
        "--profile", action="store_true", help="instead: where our process's time goes in a drain"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - SUITES.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    if options.profile:
        uvloop.run(_profile(options.messages))
        return
    uvloop.run(_run(options.names or list(SUITES), options.rounds, options.messages, as_json=options.json))


async def _run(names: Sequence[str], rounds: int, messages: int, *, as_json: bool) -> None:
    async with set_up() as stage:
        circumstances = await report.conditions(stage)
        results = []
        for name in names:
            print(f"measuring {name}", file=sys.stderr, flush=True)
            results.append(Result(name, *await SUITES[name](stage, rounds, messages)))
    print(report.as_json(results, circumstances) if as_json else report.as_text(results, circumstances))


async def _profile(messages: int) -> None:
    async with set_up() as stage:
        print(await profile(stage, messages))


if __name__ == "__main__":
    main()
