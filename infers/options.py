"""What a caller may choose about a segmentation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum


class Postprocessing(StrEnum):
    """What is done to the network's mask.

    `DEFAULT` keeps every piece of a lung, mends specks and sides and fills holes; `PAPER` is what
    Hofmanninger et al. 2020 (sec. II-E) did; `LUNGMASK` gives lungmask's voxels; `NONE` leaves the mask as it is.
    """

    DEFAULT = "default"
    PAPER = "paper"
    LUNGMASK = "lungmask"
    NONE = "none"


class Backend(StrEnum):
    """What computes the network: `AUTO` takes the fastest that runs here (see `infers.backends`)."""

    AUTO = "auto"
    NATIVE = "native"
    TORCH = "torch"


@dataclass(frozen=True)
class Options:
    """How a network segments a scan.

    Attributes:
        postprocess: What is done to its mask.
        smooth: Whether probabilities are interpolated to the scan's pixels before the largest is taken, which leaves
            no stair steps of the network's 256 x 256 pixels.
        skip: Whether slices far from any lung are passed over (see `infers.skipping`).
        backend: What computes the network on a CPU.
        threads: CPU threads of the compiled kernels; None takes one for each core.
        half: Whether a GPU computes in half precision.

    Raises:
        ValueError: If they exclude each other.
    """

    postprocess: Postprocessing = Postprocessing.DEFAULT
    smooth: bool = False
    skip: bool = True
    backend: Backend = Backend.AUTO
    threads: int | None = None
    half: bool = False

    def __post_init__(self) -> None:
        if self.smooth and self.postprocess == Postprocessing.LUNGMASK:
            raise ValueError("lungmask's postprocessing works on the network's pixels: it cannot be had with smooth")

    def suffix(self) -> str:
        """What is chosen differently from the default and can change a mask, for a model's version; often empty."""
        chosen = [
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)
            if field.name not in ("threads", "backend") and getattr(self, field.name) != field.default
        ]
        return "".join(f"+{words}" for words in chosen)
