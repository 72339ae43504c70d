"""What was measured, and what it should be: figures a round, ratios of one round, medians of those."""

from dataclasses import dataclass, field
from statistics import median


@dataclass
class Figures:
    """Named series, one value a round. A name ends with its unit."""

    series: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.series.setdefault(name, []).append(value)


@dataclass(frozen=True)
class Spread:
    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Goal:
    """What `figure`, or its ratio to `over` in the same round, should be."""

    text: str
    figure: str
    over: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def values(self, figures: Figures) -> list[float]:
        own = figures.series[self.figure]
        if self.over is None:
            return own
        return [value / base for value, base in zip(own, figures.series[self.over], strict=True)]

    def is_met(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    @property
    def has_bound(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    @property
    def wanted(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else "-"


@dataclass
class Result:
    """One benchmark's figures and goals."""

    name: str
    figures: Figures
    goals: list[Goal]


def spread(values: list[float]) -> Spread:
    return Spread(median(values), min(values), max(values))
