"""Gives synthetic slices their looks; the labels stay as they are: a lung that is dense is still lung."""

from __future__ import annotations

import edt
import numpy as np
from scipy import ndimage

from trainers.looks import CURVE_HU, Looks
from trainers.textures import axes, blobs, inside, smooth_field, texture

AIR_HU, HIGHEST_HU = -1024.0, 600.0
EDGE_PIXELS = 3
BLANKET_THICKNESS = 0.006
AERATED_HU = -200.0, -500.0
"""Above the first, lung is as dense as soft tissue; below the second, it is air and a few vessels."""


def dress(image: np.ndarray, labels: np.ndarray, looks: Looks) -> np.ndarray:
    """Give a synthetic slice these looks.

    Args:
        image: (size, size) float32 in 0..1: the window from -1024 to 600 HU.
        labels: (size, size) uint8: 0 background, 1 right lung, 2 left lung.
        looks: From `draw_looks`.

    Returns:
        (size, size) float32 in 0..1.
    """
    random = np.random.default_rng(looks.seed)
    hu = image * np.float32(HIGHEST_HU - AIR_HU) + np.float32(AIR_HU)
    lung = labels > 0
    outside = _outside(hu, lung)
    soft = ~lung & ~outside & (hu > CURVE_HU[0])
    if looks.keeps_disease:
        soft |= lung & (hu > AERATED_HU[0])
    hu = np.where(soft, _soft_tissue(hu, looks, random), hu)
    if lung.any():
        hu = _lung(hu, labels, looks, random)
    hu = _gut(hu, soft, lung, looks, random)
    hu = _around(hu, outside, looks, random)
    hu = _exposed(hu, looks, random)
    return np.clip((hu - AIR_HU) / (HIGHEST_HU - AIR_HU), 0.0, 1.0).astype(np.float32)


def _outside(hu: np.ndarray, lung: np.ndarray) -> np.ndarray:
    """Air that reaches the rim of the slice; found on every second pixel."""
    air = (hu[::2, ::2] < CURVE_HU[0]) & ~lung[::2, ::2]
    numbered, _ = ndimage.label(air)
    rim = np.unique(np.concatenate([numbered[0], numbered[-1], numbered[:, 0], numbered[:, -1]]))
    reaches = np.zeros(numbered.max() + 1, dtype=bool)
    reaches[rim[rim > 0]] = True
    return reaches[numbered].repeat(2, axis=0).repeat(2, axis=1) & (hu < CURVE_HU[0]) & ~lung


def _soft_tissue(hu: np.ndarray, looks: Looks, random: np.random.Generator) -> np.ndarray:
    new = np.interp(hu, CURVE_HU, looks.tissue_curve_hu).astype(np.float32)
    new += np.float32(looks.tissue_texture_hu) * texture(random, len(hu))
    if looks.fat_share:
        fat = blobs(random, np.ones(hu.shape, dtype=bool), looks.fat_share)
        new = np.where(fat & (hu < 120), np.float32(looks.fat_hu), new)
    return new


def _lung(hu: np.ndarray, labels: np.ndarray, looks: Looks, random: np.random.Generator) -> np.ndarray:
    lung, size = labels > 0, len(hu)
    new = hu.copy()
    y, _ = axes(size)
    pattern = np.float32(looks.lung_texture_hu) * texture(random, size) + np.float32(looks.lung_slope_hu) * 2 * y
    if looks.strands_hu:
        winding = smooth_field(random, int(random.choice((8, 16, 24, 40))), size)
        pattern = np.where(abs(winding) < looks.strands_width, pattern + np.float32(looks.strands_hu), pattern)
    if looks.hazy_share:
        pattern = np.where(blobs(random, lung, looks.hazy_share), pattern + np.float32(looks.hazy_hu), pattern)
    for side in (0, 1):
        here = labels == side + 1
        if not here.any():
            continue
        new = np.where(here, _parenchyma(hu, here, pattern, side, looks), new)
        if looks.dense_share[side]:
            new = np.where(blobs(random, here, looks.dense_share[side]), np.float32(looks.dense_hu), new)
        if looks.layer_share[side]:
            level = y + np.float32(0.03) * smooth_field(random, 4, size)
            under = here & (level > np.quantile(level[here], 1 - looks.layer_share[side]))
            new = np.where(under, np.float32(looks.layer_hu), new)
    return np.where(lung, new.clip(AIR_HU, 250), hu)


def _parenchyma(hu: np.ndarray, here: np.ndarray, pattern: np.ndarray, side: int, looks: Looks) -> np.ndarray:
    """The tissue of one lung, right where `here`; `side` is 0 for the right one."""
    if not looks.keeps_disease:
        was = np.float32(np.median(hu[here]))
        return (hu - was) * np.float32(looks.lung_contrast) + pattern + np.float32(looks.lung_hu[side])
    aerated = here & (hu < AERATED_HU[1])
    was = np.float32(np.median(hu[aerated])) if aerated.any() else np.float32(AERATED_HU[1])
    change = (hu - was) * np.float32(looks.lung_contrast - 1) + pattern + np.float32(looks.lung_hu[side])
    if not looks.is_shift:
        change -= was + np.float32(np.median(pattern[aerated]) if aerated.any() else 0)
    air = ((AERATED_HU[0] - hu) / np.float32(AERATED_HU[0] - AERATED_HU[1])).clip(0, 1)
    return hu + air * change


def _gut(hu: np.ndarray, soft: np.ndarray, lung: np.ndarray, looks: Looks, random: np.random.Generator) -> np.ndarray:
    if not looks.gas:
        return hu
    apart = soft & ~ndimage.binary_dilation(lung, iterations=EDGE_PIXELS) if lung.any() else soft
    content = np.float32(looks.gas_texture_hu) * texture(random, len(hu))
    for ellipse in looks.gas:
        hu = np.where(inside(ellipse, len(hu)) & apart, np.float32(ellipse.hu) + content, hu)
    return hu


def _around(hu: np.ndarray, outside: np.ndarray, looks: Looks, random: np.random.Generator) -> np.ndarray:
    size = len(hu)
    air = hu + np.float32(looks.air_hu) + np.float32(looks.air_texture_hu) * texture(random, size)
    hu = np.where(outside, air, hu)
    if looks.blanket_distance and outside.any():
        distance = edt.edt(outside[::2, ::2]) * (2 / size)
        fold = distance.repeat(2, axis=0).repeat(2, axis=1) + np.float32(0.03) * smooth_field(random, 12, size)
        cloth = outside & (abs(fold - looks.blanket_distance) < BLANKET_THICKNESS)
        hu = np.where(cloth, np.float32(looks.blanket_hu), hu)
    for ellipse in looks.around:
        hu = np.where(inside(ellipse, size) & outside, np.float32(ellipse.hu), hu)
    return hu


def _exposed(hu: np.ndarray, looks: Looks, random: np.random.Generator) -> np.ndarray:
    size = len(hu)
    blurred = ndimage.gaussian_filter(hu, abs(looks.blur_pixels) * size / 256)
    hu = blurred if looks.blur_pixels > 0 else hu + np.float32(0.7) * (hu - blurred)
    hu = hu + np.float32(looks.grain_hu) * smooth_field(random, size * 2 // 5, size)
    if looks.streaks_hu:
        hu = hu + np.float32(looks.streaks_hu) * smooth_field(random, (size // 2, 5), size)
    return hu + np.float32(looks.noise_hu) * random.standard_normal(hu.shape, dtype=np.float32)
