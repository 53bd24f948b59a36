"""How often the publishing gate lets models pass whose true change of Dice is known.

For each number of locked cases, made-up differences between champion and candidate (Student's t with 4 degrees of
freedom around the true change, scaled to a standard deviation) go through the gate's paired interval. Passing is right
where the true change is 0, and wrong where it is minus the margin. The last line is JSON.

    python benchmarks/gate.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass

import numpy as np

from infers.comparison import compare_paired
from trainers.decision import GateRules

CASES = (6, 8, 12, 20, 40)
SPREADS = (0.01, 0.02)
MARGINS = (GateRules().dice_margin, GateRules().tag_dice_margin)
FREEDOM = 4


@dataclass(frozen=True)
class Passing:
    """Share of the candidates that pass."""

    cases: int
    spread: float
    margin: float
    true_change: float
    passed: float


def passing(cases: int, spread: float, change: float, draws: int, resamples: int) -> list[Passing]:
    generator = np.random.default_rng([cases, round(1e4 * spread), round(-1e4 * change)])
    scale = spread / np.sqrt(FREEDOM / (FREEDOM - 2))
    before = np.full(cases, 0.95)
    lows = np.array(
        [
            compare_paired(
                before,
                before + change + scale * generator.standard_t(FREEDOM, cases),
                higher_is_better=True,
                resamples=resamples,
            ).low
            for _ in range(draws)
        ]
    )
    return [Passing(cases, spread, margin, change, float((lows >= -margin).mean())) for margin in MARGINS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer draws")
    parser.add_argument("--json", action="store_true", help="only the last line")
    options = parser.parse_args()
    draws, resamples = (50, 500) if options.quick else (1000, 2000)
    found: list[Passing] = []
    for cases in CASES:
        for spread in SPREADS:
            equal = passing(cases, spread, 0.0, draws, resamples)
            worse = [passing(cases, spread, -margin, draws, resamples)[place] for place, margin in enumerate(MARGINS)]
            found += [*equal, *worse]
            if not options.json:
                words = ", ".join(
                    f"margin {good.margin:g}: {good.passed:.0%} of equal ones, {bad.passed:.1%} of those that lose it"
                    for good, bad in zip(equal, worse, strict=True)
                )
                print(f"{cases:>3} cases, spread {spread:g}: {words}", flush=True)
    print(json.dumps({"draws": draws, "passing": [asdict(item) for item in found]}))


if __name__ == "__main__":
    main()
