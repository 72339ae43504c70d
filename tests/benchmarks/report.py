"""Printing: the ratios with their goals, the figures behind them, and under which conditions."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import asyncpg

from tests.benchmarks.figures import Result, Spread, spread
from tests.benchmarks.stage import Stage

LIBRARIES = (
    "aio-pika", "aiogram", "aiohttp", "apprise", "asyncpg", "celery", "dramatiq", "fastapi", "faststream",
    "orjson", "pydantic", "requests", "uvicorn", "uvloop",
)  # fmt: skip


async def conditions(stage: Stage) -> dict[str, str]:
    """What the figures depend on."""
    with stage.postgres.database() as url:
        connection = await asyncpg.connect(url)
        shown = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        }
        await connection.close()
    postgres = f"{shown.pop('server_version')}, " + ", ".join(
        f"{name} {value}" for name, value in shown.items()
    )
    return {
        "CPU": f"{os.cpu_count()} x {_cpu_model()}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": platform.platform(),
        "Python": platform.python_version(),
        "PostgreSQL": postgres,
        "RabbitMQ": await stage.rabbit_version(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }


def as_text(results: Sequence[Result], circumstances: dict[str, str]) -> str:
    ratios = [
        (
            result.name,
            goal.text,
            _shown(values),
            goal.wanted,
            "" if not goal.has_bound else "yes" if goal.is_met(values.median) else "NO",
        )
        for result in results
        for goal in result.goals
        for values in [spread(goal.values(result.figures))]
    ]
    figures = [
        (result.name, name, _shown(spread(values)), str(len(values)))
        for result in results
        for name, values in result.figures.series.items()
    ]
    parts = [
        _table(("benchmark", "ratio or time", "median [least-most]", "goal", "met"), ratios),
        _table(("benchmark", "figure", "median [least-most]", "rounds"), figures),
        "\n".join(f"{name}: {value}" for name, value in circumstances.items()),
    ]
    return "\n\n".join(parts)


def as_json(results: Sequence[Result], circumstances: dict[str, str]) -> str:
    shown = [
        {
            "name": result.name,
            "goals": [
                {
                    **asdict(goal),
                    "values": values,
                    "median": spread(values).median,
                    "met": goal.is_met(spread(values).median),
                }
                for goal in result.goals
                for values in [goal.values(result.figures)]
            ],
            "figures": result.figures.series,
        }
        for result in results
    ]
    return json.dumps({"conditions": circumstances, "benchmarks": shown}, indent=2)


def _shown(values: Spread) -> str:
    return f"{_number(values.median)} [{_number(values.least)}-{_number(values.most)}]"


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
