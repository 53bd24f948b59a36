"""The patient's own coordinates on a coarse grid: posture, size and the smooth warp of every surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datastore.phantom.implicit import FAR_MM, Point, capsule
from datastore.phantom.patient import Patient

Box = tuple[slice, slice, slice]
WARP_MODES, RIPPLE_MODES = 12, 28


@dataclass(frozen=True, eq=False)
class Waves:
    """A sum of products of sines: a smooth random field that any grid can sample.

    Attributes:
        amplitude: (component, mode).
        number: (mode, 3) wave numbers along z, y, x in 1/mm.
        phase: (mode, 3).
    """

    amplitude: np.ndarray
    number: np.ndarray
    phase: np.ndarray

    def on_grid(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(component, z, y, x) float32 on the grid that three axes span."""
        sines = [
            np.sin(np.outer(self.number[:, i], axis) + self.phase[:, i : i + 1]) for i, axis in enumerate((z, y, x))
        ]
        plane = (sines[1][:, :, None] * sines[2][:, None, :]).reshape(len(self.number), -1)
        weight = (self.amplitude[:, :, None] * sines[0]).transpose(0, 2, 1).astype(np.float32)
        field = weight.reshape(-1, len(self.number)) @ plane.astype(np.float32)
        return field.reshape(len(self.amplitude), len(z), len(y), len(x))

    def at(self, points: np.ndarray) -> np.ndarray:
        """(n, component) at (n, 3) points."""
        sines = np.sin(points[:, None, :] * self.number + self.phase).prod(axis=2)
        return sines @ self.amplitude.T


def draw_waves(
    random: np.random.Generator, components: int, modes: int, lengths_mm: tuple[float, float], size: float
) -> Waves:
    """Draw a field of wavelengths between two bounds whose standard deviation is about `size`."""
    length = np.exp(random.uniform(np.log(lengths_mm[0]), np.log(lengths_mm[1]), (modes, 1)))
    heading = np.abs(random.normal(size=(modes, 3)))
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    amplitude = random.normal(size=(components, modes)) * size * np.sqrt(8 / modes)
    return Waves(amplitude, 2 * np.pi * heading / length, random.uniform(0, 2 * np.pi, (modes, 3)))


@dataclass(frozen=True, eq=False)
class Frame:
    """How the patient lies: world = turned and scaled (anatomy - warp)."""

    scale: np.ndarray
    turn: np.ndarray
    warp: Waves
    bow_mm: float
    hunch: float

    def shift(self, world: np.ndarray) -> np.ndarray:
        """(n, 3) what the anatomy's coordinates are beyond turned and scaled world coordinates."""
        unscaled = world / self.scale
        moved = self.warp.at(unscaled)
        moved[:, 1] += self.stoop(unscaled[:, 0])
        moved[:, 2] += self.bow(unscaled[:, 0])
        return moved

    def bow(self, z: np.ndarray) -> np.ndarray:
        """Sideways shift of a scoliosis."""
        return self.bow_mm * np.sin((z + 30) / 95) * np.exp(-(((z + 60) / 230) ** 2))

    def stoop(self, z: np.ndarray) -> np.ndarray:
        """How much further to the front a bent spine carries the upper chest."""
        return self.hunch * 30.0 * np.clip(z / 110, 0, 2.2) ** 2

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) mm in the scanner of (n, 3) mm in the reference anatomy, by fixed-point iteration."""
        points = np.asarray(points, float).reshape(-1, 3)
        world = (points * self.scale) @ self.turn
        for _ in range(4):
            world = ((points - self.shift(world)) * self.scale) @ self.turn
        return world


@dataclass(frozen=True, eq=False)
class Space:
    """A coarse grid with the reference anatomy's coordinates of each of its points.

    Attributes:
        axes_mm: (z, y, x) positions in the scanner.
        step_mm: (z, y, x) grid step.
        z: (z, y, x) float32 mm in the reference anatomy; y and x likewise.
        ripple: (2, z, y, x) float32, smooth noise of standard deviation 1: of long and of short waves.
        frame: Between anatomy and scanner.
        scale: Mean size; distances of the anatomy times it are mm in the scanner.
    """

    axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray]
    step_mm: tuple[float, float, float]
    z: np.ndarray
    y: np.ndarray
    x: np.ndarray
    ripple: np.ndarray
    frame: Frame
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along (z, y, x)."""
        return self.z.shape

    @property
    def step(self) -> tuple[float, float, float]:
        """(z, y, x) grid step in mm of the reference anatomy."""
        z, y, x = (float(a / b) for a, b in zip(self.step_mm, self.frame.scale, strict=True))
        return z, y, x

    @property
    def down(self) -> np.ndarray:
        """(z, y, x) mm of the reference anatomy towards the floor of a supine patient, however rolled."""
        return self.frame.turn[1, 1] * self.y + self.frame.turn[2, 1] * self.x

    def box(self, low: Sequence[float], high: Sequence[float], margin_mm: float = 14.0) -> Box:
        """The part of the grid that holds a box of the anatomy, with a margin."""
        corners = [(z, y, x) for z in (low[0], high[0]) for y in (low[1], high[1]) for x in (low[2], high[2])]
        world = self.frame.to_world(np.array(corners))
        parts = []
        for axis, nearest, furthest in zip(self.axes_mm, world.min(axis=0), world.max(axis=0), strict=True):
            start, stop = np.searchsorted(axis, (nearest - margin_mm, furthest + margin_mm))
            parts.append(slice(int(start), int(stop)))
        return parts[0], parts[1], parts[2]

    def at(self, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The anatomy's (z, y, x) in a box."""
        return self.z[box], self.y[box], self.x[box]


class Solid:
    """Shapes joined into one signed distance, each with its Hounsfield units if they differ.

    Attributes:
        sdf: (z, y, x) float32 mm of the reference anatomy, negative inside, at most `FAR_MM`.
        hu: (z, y, x) float32: the value of the nearest shape; None where the solid has none.
    """

    def __init__(self, space: Space, hu: float | None = None) -> None:
        self.space = space
        self.sdf = np.full(space.shape, FAR_MM, np.float32)
        self.hu = None if hu is None else np.full(space.shape, hu, np.float32)

    def add(self, box: Box, sdf: np.ndarray, hu: float | np.ndarray | None = None, *, over: bool = False) -> None:
        """Join a shape; `over` gives its value wherever it is, else only where it is the nearest."""
        part = self.sdf[box]
        if self.hu is not None and hu is not None:
            nearer = (sdf < part) | (sdf < 0) if over else sdf < part
            np.copyto(self.hu[box], hu, where=nearer)
        np.minimum(part, sdf, out=part)

    def add_tube(self, points: Sequence[Point], radii: Sequence[float], hu: float | None = None) -> None:
        """Join a tube along points whose radius goes evenly between them."""
        for start, end, radius, end_radius in zip(points, points[1:], radii, radii[1:], strict=False):
            reach = max(radius, end_radius)
            box = self.space.box(
                [min(a, b) - reach for a, b in zip(start, end, strict=True)],
                [max(a, b) + reach for a, b in zip(start, end, strict=True)],
            )
            if min(part.stop - part.start for part in box) > 0:
                self.add(box, capsule(*self.space.at(box), start, end, radius, end_radius), hu)


def make_space(
    patient: Patient, axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray], step_mm: tuple[float, float, float]
) -> Space:
    """Lay the reference anatomy over a grid.

    Args:
        patient: Size, roll and the seed of the warp.
        axes_mm: (z, y, x) positions of the grid in the scanner, evenly spaced.
        step_mm: (z, y, x) their steps.
    """
    random = np.random.default_rng(patient.seed)
    turn = np.radians(patient.roll_deg)
    matrix = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    warp = draw_waves(random, 3, WARP_MODES, (110.0, 330.0), 2.6)
    frame = Frame(np.array(patient.scale), matrix, warp, patient.scoliosis_mm, patient.kyphosis - 1)
    ripples = (
        draw_waves(random, 1, RIPPLE_MODES, (60.0, 160.0), 1.0),
        draw_waves(random, 1, RIPPLE_MODES, (14.0, 55.0), 1.0),
    )
    ripple = np.concatenate([waves.on_grid(*axes_mm) for waves in ripples])
    z, y, x = (axis.astype(np.float32) for axis in axes_mm)
    flat_y = (matrix[1, 1] * y[:, None] + matrix[1, 2] * x[None, :]) / patient.scale[1]
    flat_x = (matrix[2, 1] * y[:, None] + matrix[2, 2] * x[None, :]) / patient.scale[2]
    unscaled = [axis / size for axis, size in zip((z, y, x), patient.scale, strict=True)]
    moved = warp.on_grid(*unscaled)
    anatomy_z = unscaled[0][:, None, None] + moved[0]
    moved[1] += frame.stoop(unscaled[0])[:, None, None].astype(np.float32)
    moved[2] += frame.bow(unscaled[0])[:, None, None].astype(np.float32)
    return Space(
        axes_mm,
        step_mm,
        anatomy_z.astype(np.float32),
        (flat_y[None] + moved[1]).astype(np.float32),
        (flat_x[None] + moved[2]).astype(np.float32),
        ripple,
        frame,
        float(np.mean(patient.scale)),
    )
