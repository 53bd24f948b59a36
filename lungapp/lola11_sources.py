"""What a submission to LOLA11 is made of: the scans, and a mask for each, finished or made by a model."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from datastore.datasets.lola11 import NAMES, SCAN, files_by_name, lola11_scans
from datastore.found import Found
from datastore.image_files import is_image_name, stem_of
from datastore.records import Source
from infers.models import Model
from lungapp.lola11 import SUBMISSIONS
from lungapp.output_folder import output_folder
from lungapp.segment_jobs import Job
from lungapp.segment_results import Outcome
from lungapp.segment_steps import OVERWRITE_HINT
from lungapp.segmenting import segment_all

SEGMENTED = "segmented"  # where a model's masks lie, in our numbering and with their reports


@dataclass(frozen=True)
class MaskFile:
    """The mask that a case is made of.

    Attributes:
        case: One of LOLA11's names.
        path: Its file; None if there is none.
        reason: Why there is none, or what should be known of it; "" if nothing.
    """

    case: str
    path: Path | None
    reason: str = ""


def find_scans(inputs: Iterable[Path]) -> dict[str, Path]:
    """The scans of LOLA11 among files and below folders, by name.

    Raises:
        FileNotFoundError: If a path is not there.
        ValueError: If there are none, or one is there twice, or a file is called otherwise.
    """
    found: dict[str, list[Path]] = {}
    for path in inputs:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        if path.is_dir():
            below = lola11_scans(path)
        elif is_image_name(path.name) and SCAN.fullmatch(stem_of(path)):
            below = {stem_of(path).lower(): [path]}
        else:
            raise ValueError(f"{path}: expected a name like lola11-01.mhd")
        for name, paths in below.items():
            found.setdefault(name, []).extend(paths)
    return _once(found, "scan")


def find_masks(folder: Path) -> dict[str, Path]:
    """Finished masks below a folder, by the name of their scan; see `find_scans` for the errors."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    return _once(files_by_name(folder), "mask")


def missing(found: Iterable[str]) -> list[str]:
    """Which of the 55 names are not among these."""
    return sorted(set(NAMES).difference(found))


def masks_given(scans: Iterable[str], masks: Mapping[str, Path]) -> Generator[MaskFile]:
    """The finished mask of each scan."""
    for case in scans:
        yield MaskFile(case, masks.get(case), "" if case in masks else f"{case}: there is no mask of that name")


def masks_made(scans: Mapping[str, Path], model: Model, out: Path) -> Generator[MaskFile]:
    """The mask of each scan, made by a model and kept with its report: a second run goes on where one was stopped."""
    jobs = [
        Job(Found(Source(path), Path(case)), out / SEGMENTED / f"{case}.nii.gz", searched=False)
        for case, path in scans.items()
    ]
    with closing(segment_all(jobs, model)) as results:
        for case, result in zip(scans, results, strict=True):
            reason = (result.reason or "").removesuffix(OVERWRITE_HINT)
            if result.outcome in (Outcome.SEGMENTED, Outcome.KEPT):
                yield MaskFile(case, result.target, "" if result.is_silent else reason)
            else:
                yield MaskFile(case, None, reason)


@contextmanager
def submission_folders(out: Path, cases: Iterable[str], *, with_models_masks: bool) -> Generator[None]:
    """Makes the folders ready.

    Raises:
        OSError: If nothing can be written there; before hours are spent on masks.
    """
    names = [f"{case}{suffix}" for case in cases for suffix in (".nii.gz", ".mhd", ".zraw")]
    with ExitStack() as stack:
        for folder in (SEGMENTED, *SUBMISSIONS) if with_models_masks else SUBMISSIONS:
            stack.enter_context(output_folder(out / folder, [out / folder / name for name in names]))
        yield


def _once(found: Mapping[str, list[Path]], what: str) -> dict[str, Path]:
    """Each name's one file, in the order of names."""
    if not found:
        raise ValueError(f"no {what} of LOLA11: expected names like lola11-01.mhd")
    for name, paths in found.items():
        if name not in NAMES:
            raise ValueError(f"{paths[0]}: LOLA11 has no {name}: expected {NAMES[0]} to {NAMES[-1]}")
        if len(paths) > 1:
            raise ValueError(f"{name}: expected one {what}, got {paths[0]} and {paths[1]}")
    return {name: found[name][0] for name in sorted(found)}
