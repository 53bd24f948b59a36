"""Options of commands that run a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lungapp.cli.options import device_option, model_option

if TYPE_CHECKING:
    from infers.models import Model

PRESETS = ("fast",)
POSTPROCESSING = ("default", "paper", "lungmask", "none")
BACKENDS = ("auto", "native", "torch")


def segmenting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say how networks segment; the command gets `load`, a function of a model's name.

    Models are loaded when `load` is called, not when the command line is read.
    """

    @click.option("--fill", "fill", help="A second network that says where lung is; the first says which lobe.")
    @click.option(
        "--postprocess",
        type=click.Choice(POSTPROCESSING),
        default="default",
        show_default=True,
        help="What is done to a network's mask; lungmask gives lungmask's voxels.",
    )
    @click.option("--smooth", is_flag=True, help="Interpolate probabilities: no stair steps of the network's pixels.")
    @click.option("--skip/--no-skip", default=True, help="Pass over slices far from any lung  [default: --skip]")
    @device_option
    @click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True, help="On a CPU.")
    @click.option("--threads", type=click.IntRange(1, 256), help="Of the native backend  [default: all cores]")
    @click.option("--half", is_flag=True, help="Half precision on a GPU: faster; a few border voxels differ.")
    @wraps(command)
    def with_loader(
        *,
        fill: str | None,
        postprocess: str,
        smooth: bool,
        skip: bool,
        device: str,
        backend: str,
        threads: int | None,
        half: bool,
        **others: Any,
    ) -> None:
        if smooth and postprocess == "lungmask":
            raise click.UsageError("--smooth works on the scan's pixels, --postprocess lungmask on the network's")

        def load(name: str, stores: Sequence[Path] = ()) -> Model:
            from infers import Backend, Options, Postprocessing, load_model

            options = Options(Postprocessing(postprocess), smooth, skip, Backend(backend), threads, half)
            return load_model(name, device, options, fill=fill, stores=stores)

        command(load=load, **others)

    return with_loader


def network_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose a network and how it segments; the command gets them as `load`, a function."""

    @model_option
    @click.option("--preset", type=click.Choice(PRESETS), help="fast: the narrow network that is part of lungapp.")
    @segmenting_options
    @wraps(command)
    def with_model(*, model_name: str, preset: str | None, load: Callable[[str], Model], **others: Any) -> None:
        source = click.get_current_context().get_parameter_source("model_name")
        if preset and source != ParameterSource.DEFAULT:
            raise click.UsageError("--preset chooses the model: leave --model out")
        command(load=partial(load, preset or model_name), **others)

    return with_model
