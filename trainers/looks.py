"""How a synthetic slice shall look: contrast, texture, disease and surroundings, drawn far beyond what is natural.

A network that saw no real CT then learns shape and place, not shades: domain randomisation (Tobin et al. 2017;
Billot et al. 2023 for brain MR).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

AIR_OF_LUNG_HU = (-1000.0, -890.0), (-900.0, -720.0), (-980.0, -500.0)  # emphysema, usual, anything
CURVE_HU = np.array([-500.0, -150.0, -60.0, 20.0, 60.0, 130.0, 300.0, 600.0])


@dataclass(frozen=True)
class Ellipse:
    """A region of one value, in fractions of the slice's side, from its centre; `turn` in radians."""

    y: float
    x: float
    half_height: float
    half_width: float
    turn: float
    hu: float


@dataclass(frozen=True, eq=False)
class Looks:
    """How one slice shall look; amplitudes in Hounsfield units.

    Attributes:
        tissue_curve_hu: What the values `CURVE_HU` of soft tissue and bone become.
        tissue_texture_hu: Standard deviation of the texture of soft tissue.
        fat_share: Share of the soft tissue that becomes fat, in blobs.
        fat_hu: Its value.
        lung_hu: (right, left) mean of the lung.
        lung_contrast: Factor on what vessels and noise differ from the mean.
        lung_texture_hu: Standard deviation of the texture of the lung.
        lung_slope_hu: From the front to the back of the slice.
        strands_hu: Of thin winding lines in the lung, which look like vessels, fissures and septa.
        strands_width: Of these lines; a fraction of the field's spread.
        dense_share: (right, left) share of the lung that is consolidated.
        dense_hu: Value of the consolidation.
        hazy_share: Share of the lung under ground glass, or of emphysema if `hazy_hu` is below 0.
        hazy_hu: What is added there.
        layer_share: (right, left) share of the lung, from the back, that is under fluid.
        layer_hu: Value of the fluid.
        gas: Gas or faeces in the gut: drawn in soft tissue apart from the lung.
        gas_texture_hu: Texture of it.
        around: Arms, breasts, table and blankets: drawn in the air around the body.
        keeps_disease: Whether the lung keeps what was painted in it: its air gets the mean `lung_hu`, what is dense
            changes with the soft tissue.
        is_shift: Whether `lung_hu` is added to the mean of that air instead.
        air_hu: Added to the air around the body.
        air_texture_hu: Standard deviation of its texture: foam, cloth.
        blanket_distance: From the body to a cloth around it, in fractions of the slice's side; 0 without one.
        blanket_hu: Value of the cloth.
        blur_pixels: Standard deviation of a Gaussian; below 0 sharpens.
        noise_hu: Standard deviation of white noise.
        grain_hu: Standard deviation of correlated noise.
        streaks_hu: Standard deviation of horizontal streaks, as at the shoulders.
        seed: Of all fields.
    """

    tissue_curve_hu: np.ndarray
    tissue_texture_hu: float
    fat_share: float
    fat_hu: float
    lung_hu: tuple[float, float]
    lung_contrast: float
    lung_texture_hu: float
    lung_slope_hu: float
    strands_hu: float
    strands_width: float
    dense_share: tuple[float, float]
    dense_hu: float
    hazy_share: float
    hazy_hu: float
    layer_share: tuple[float, float]
    layer_hu: float
    air_hu: float
    air_texture_hu: float
    blanket_distance: float
    blanket_hu: float
    blur_pixels: float
    noise_hu: float
    grain_hu: float
    streaks_hu: float
    seed: int
    gas: tuple[Ellipse, ...] = field(default=())
    gas_texture_hu: float = 0.0
    around: tuple[Ellipse, ...] = field(default=())
    keeps_disease: bool = False
    is_shift: bool = False


def draw_looks(random: np.random.Generator, *, has_lung: bool) -> Looks:
    """Draw the looks of one slice; where there is no lung, there is more gas in the gut."""
    scale, shift = random.uniform(0.6, 1.4), random.normal(0, 25)
    curve = (CURVE_HU * scale + shift + random.normal(0, 25, len(CURVE_HU))).clip(-450, 600)
    lung_hu = random.uniform(-940, -700) if random.random() < 0.8 else random.uniform(-970, -450)
    ill = random.random() < 0.4
    return Looks(
        tissue_curve_hu=curve,
        tissue_texture_hu=_amplitude(random, 40),
        fat_share=random.uniform(0, 0.5) if random.random() < 0.5 else 0.0,
        fat_hu=random.uniform(-140, -60),
        lung_hu=(lung_hu + random.normal(0, 15), lung_hu + random.normal(0, 15)),
        lung_contrast=random.uniform(0.4, 1.2),
        lung_texture_hu=_amplitude(random, 80),
        lung_slope_hu=random.normal(0, 60),
        strands_hu=random.uniform(0, 700) if random.random() < 0.7 else 0.0,
        strands_width=random.uniform(0.02, 0.15),
        dense_share=(_share(random, ill, 0.35), _share(random, ill, 0.35)),
        dense_hu=random.uniform(-150, 90),
        hazy_share=random.uniform(0.1, 0.8) if random.random() < 0.4 else 0.0,
        hazy_hu=random.uniform(-120, 350),
        layer_share=(_share(random, ill, 0.3), _share(random, ill, 0.3)),
        layer_hu=random.uniform(-10, 50),
        air_hu=random.uniform(-20, 60) if random.random() < 0.7 else random.uniform(60, 200),
        air_texture_hu=_amplitude(random, 80),
        blanket_distance=random.uniform(0.01, 0.12) if random.random() < 0.5 else 0.0,
        blanket_hu=random.uniform(-950, -100),
        blur_pixels=random.uniform(-1.0, 1.3),
        noise_hu=_amplitude(random, 130),
        grain_hu=_amplitude(random, 90),
        streaks_hu=_amplitude(random, 120) if random.random() < 0.2 else 0.0,
        seed=int(random.integers(2**31)),
        gas=tuple(_gas(random) for _ in range(random.integers(1, 6 if has_lung else 12)))
        if random.random() < (0.3 if has_lung else 0.7)
        else (),
        gas_texture_hu=_amplitude(random, 150),
        around=tuple(_thing_around(random) for _ in range(random.integers(0, 9))),
    )


def draw_gentle_looks(random: np.random.Generator) -> Looks:
    """Draw looks for a slice whose anatomy, diseases and noise are realistic already: they shift what is there."""
    curve = CURVE_HU * random.uniform(0.75, 1.25) + random.normal(0, 15) + random.normal(0, 15, len(CURVE_HU))
    moved = float(random.normal(0, 45))
    ill = random.random() < 0.12
    return Looks(
        tissue_curve_hu=curve.clip(-450, 600),
        tissue_texture_hu=_amplitude(random, 20),
        fat_share=random.uniform(0, 0.4) if random.random() < 0.1 else 0.0,
        fat_hu=random.uniform(-130, -60),
        lung_hu=(moved + random.normal(0, 15), moved + random.normal(0, 15)),
        lung_contrast=random.uniform(0.6, 1.3),
        lung_texture_hu=_amplitude(random, 60),
        lung_slope_hu=random.normal(0, 30),
        strands_hu=random.uniform(0, 500) if random.random() < 0.1 else 0.0,
        strands_width=random.uniform(0.02, 0.1),
        dense_share=(_share(random, ill, 0.5), _share(random, ill, 0.5)),
        dense_hu=random.uniform(-50, 90),
        hazy_share=random.uniform(0.1, 0.8) if random.random() < 0.12 else 0.0,
        hazy_hu=random.uniform(-100, 350),
        layer_share=(_share(random, ill, 0.4), _share(random, ill, 0.4)),
        layer_hu=random.uniform(-10, 50),
        air_hu=random.uniform(-10, 40) if random.random() < 0.8 else random.uniform(40, 150),
        air_texture_hu=_amplitude(random, 60),
        blanket_distance=random.uniform(0.01, 0.1) if random.random() < 0.12 else 0.0,
        blanket_hu=random.uniform(-950, -100),
        blur_pixels=random.uniform(-0.8, 1.0),
        noise_hu=_amplitude(random, 70),
        grain_hu=_amplitude(random, 50),
        streaks_hu=_amplitude(random, 80) if random.random() < 0.1 else 0.0,
        seed=int(random.integers(2**31)),
        gas=tuple(_gas(random) for _ in range(random.integers(1, 5))) if random.random() < 0.15 else (),
        gas_texture_hu=_amplitude(random, 100),
        around=tuple(_thing_around(random) for _ in range(random.integers(1, 5))) if random.random() < 0.2 else (),
        keeps_disease=True,
        is_shift=True,
    )


def draw_wide_looks(random: np.random.Generator, *, has_lung: bool) -> Looks:
    """Draw looks as wide as `draw_looks` does, for a slice whose lungs keep the diseases that they have.

    Often lungs are as dark as those of severe emphysema, -950 HU and below (Gevenois et al. 1996), whatever disease is
    painted in them: a network that had seen such lungs in few patients took them for background.
    """
    low, high = AIR_OF_LUNG_HU[int(random.choice(3, p=(0.45, 0.4, 0.15)))]
    air_hu = float(random.uniform(low, high))
    return replace(
        draw_looks(random, has_lung=has_lung),
        lung_hu=(air_hu + random.normal(0, 15), air_hu + random.normal(0, 15)),
        keeps_disease=True,
    )


def _amplitude(random: np.random.Generator, most: float) -> float:
    """Often little, sometimes much."""
    return float(most * random.random() ** 2)


def _share(random: np.random.Generator, ill: bool, most: float) -> float:
    return float(random.uniform(0, most)) if ill and random.random() < 0.4 else 0.0


def _gas(random: np.random.Generator) -> Ellipse:
    hu = random.uniform(-1000, -850) if random.random() < 0.7 else random.uniform(-850, -200)
    (y, x), (half_height, half_width) = random.uniform(-0.35, 0.35, 2), np.exp(random.uniform(-3.9, -2.0, 2))
    return Ellipse(y, x, half_height, half_width, random.uniform(0, 3), hu)


def _thing_around(random: np.random.Generator) -> Ellipse:
    """Round like an arm, or long like a table top, near the rim of the slice."""
    hu = random.uniform(-950, 100) if random.random() < 0.5 else random.uniform(-120, 60)
    angle = random.uniform(0, 2 * np.pi)
    y, x = 0.45 * np.sin(angle), 0.45 * np.cos(angle)
    if random.random() < 0.5:
        half_height, half_width = random.uniform(0.004, 0.02), random.uniform(0.2, 0.6)
        return Ellipse(abs(y), x, half_height, half_width, random.normal(0, 0.5), hu)
    half_height, half_width = random.uniform(0.02, 0.13, 2)
    return Ellipse(y, x, half_height, half_width, random.uniform(0, 3), hu)
