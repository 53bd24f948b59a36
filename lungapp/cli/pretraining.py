"""`lungapp pretrain`: first weights from synthetic patients."""

from __future__ import annotations

from pathlib import Path

import click

from lungapp.cli.options import json_option, print_json
from lungapp.cli.phantom import COHORT_NAMES


@click.command()
@click.option("--cohort", type=click.Choice(COHORT_NAMES), required=True, help="What to learn from.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="A folder.")
@click.option("--patients", type=click.IntRange(min=2), default=250, show_default=True, help="To render.")
@click.option("--steps", type=click.IntRange(min=1), default=3200, show_default=True, help="Minibatches of 14 slices.")
@click.option("--base-channels", type=click.IntRange(1, 64), default=16, show_default=True, help="Width of the U-net.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option(
    "--held-out", type=click.IntRange(min=0), default=2, show_default=True, help="Patients of each disease to judge on."
)
@json_option
def pretrain(
    cohort: str, out: Path, patients: int, steps: int, base_channels: int, seed: int, held_out: int, as_json: bool
) -> None:
    """Train first weights on synthetic patients alone.

    OUT gets weights.safetensors, metrics.json and README.md, the model card. The same command goes on where it was
    stopped; the same seed gives the same weights. The patients in OUT/cache and OUT/checkpoint.pt may be deleted
    afterwards.

    Example: lungapp pretrain --cohort routine --out first-weights
    """
    import torch

    from infers.torch_unet import keep_freed_memory
    from trainers.pretraining import Pretraining, pretrain

    torch.set_num_threads(1)  # sums then have one order, and the weights are the same to the bit
    keep_freed_memory()
    plan = Pretraining(cohort, patients, steps, base_channels, seed, held_out=held_out)
    command = (
        f"lungapp pretrain --cohort {cohort} --out OUT --patients {patients} --steps {steps} "
        f"--base-channels {base_channels} --seed {seed} --held-out {held_out}"
    )
    metrics = pretrain(plan, out, command, (lambda _: None) if as_json else click.echo)
    if as_json:
        print_json(metrics)
