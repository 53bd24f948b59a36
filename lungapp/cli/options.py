"""What the commands share: options, one-line errors, the progress bar."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from datastore.wording import printable
from lungapp.project import PROJECT_VARIABLE

project_option = click.option(
    "-p",
    "--project",
    "project_folder",
    type=click.Path(path_type=Path),
    envvar=PROJECT_VARIABLE,
    default=Path(),
    show_default="this folder",
    help=f"The project's folder; also ${PROJECT_VARIABLE}.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
model_option = click.option(
    "--model",
    "model_name",
    default="bootstrap",
    show_default=True,
    help="`bootstrap`, which comes with lungapp, `threshold`, a model of `lungapp models list`, or a file of weights "
    "(.safetensors, or lungmask's .pth).",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1; where networks run."
)


def words(_context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse text that is empty, or that a terminal or a database would stumble over."""
    for text in value if isinstance(value, tuple) else (value,):
        if text is not None and (text != printable(text) or not text.strip()):
            raise click.BadParameter(f"expected words, got {text!r}", param=parameter)
    return value


def named_folder(_context: click.Context, _parameter: click.Parameter, value: str) -> Path:
    """The folder of an argument; an unset shell variable is refused, which would mean this folder."""
    if not value:
        raise click.BadParameter("is empty")
    return Path(value)


def you() -> str:
    """Who runs the program, for the audit."""
    return os.environ.get("USER") or "local"


by_option = click.option(
    "--by",
    callback=words,
    default=you,
    show_default="you",
    help="Who does this; it stands in the audit.",
)


class OneLineErrors(click.Group):
    """Shows what a user can mend as one line and exit code 1; `--verbose` shows where it came from."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from datastore.database import RegistryError
        from datastore.registry import UnknownCaseError

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, RegistryError, UnknownCaseError) as error:
            if ctx.params.get("verbose"):
                raise
            raise click.ClickException(" ".join(str(error).split())) from error


class progress_bar:  # noqa: N801 - read as a verb: `with progress_bar(...) as step`
    """A progress bar on the terminal, silent where there is none; gives a function that counts one."""

    def __init__(self, what: str, unit: str, total: int | None = None) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=what, unit=f" {unit}", total=total, disable=None, delay=0.5, leave=False)

    def __enter__(self) -> Callable[..., None]:
        return self._step

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _step(self, total: int | None = None) -> None:
        if total is not None:
            self._bar.total = total
        self._bar.update()


def echo_beside_bar(text: str, *, err: bool = False) -> None:
    """Print a line while a progress bar is shown: above it, not into it."""
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr if err else sys.stdout):
        click.echo(text, err=err)


def print_json(plain: Any) -> None:
    """Print plain values as JSON."""
    click.echo(json.dumps(plain, indent=2))
