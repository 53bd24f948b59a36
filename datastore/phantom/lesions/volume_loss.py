"""A diaphragm that rises where lung has lost volume."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndimage

from datastore.phantom.lesions.borders import carry_over
from datastore.phantom.lesions.region import LungRegion

ABDOMEN_HU = 55.0
REACH_MM = 110.0
"""Columns of lung that end higher than this above its base stand on the heart or a rib, not on the diaphragm."""


def raise_diaphragm(region: LungRegion, rise_mm: float) -> None:
    """Take the lowest part of a lung away and draw the abdomen up into it.

    The abdomen's own texture is carried up, so liver or fat follow; what is as bright as bone or as dark as gas
    becomes plain soft tissue. A lung cut off by the scan's lower end stays as it is, since what lies below is not
    known.

    Args:
        region: The lung; its `hu` and `inside` are changed.
        rise_mm: How far the dome rises; the rim of the diaphragm rises less.
    """
    step_mm = region.spacing_mm[0]
    if region.base_is_cut or not region.inside.any() or rise_mm < step_mm:
        return
    covered = region.inside.any(axis=0)
    lowest = np.where(covered, region.inside.argmax(axis=0), 0).astype(np.float32)
    levels_mm = region.axes_mm[0][lowest.astype(int)]
    on_dome = np.clip((float(levels_mm[covered].min()) + REACH_MM - levels_mm) / 30.0, 0.0, 1.0)
    limit = np.maximum(lowest, _smooth(lowest, covered, region, 3.0)) + rise_mm * on_dome / step_mm
    limit = np.where(covered & (on_dome > 0), limit, 0.0).astype(np.float32)
    index = np.arange(min(int(np.ceil(limit.max())) + 1, region.inside.shape[0]))[:, None, None]
    cover = np.clip(limit - index, 0.0, 1.0) * region.inside[: index.size]
    # The slice just below the lung still holds some of it.
    rise = np.maximum(limit - lowest, 1.0).astype(int) + 1
    source = np.clip(np.minimum(index - rise, lowest.astype(int) - 2), 0, None)
    risen = np.take_along_axis(region.hu, source, axis=0)
    risen = np.where((risen < -130.0) | (risen > 130.0), ABDOMEN_HU, risen)
    before, lung = region.hu.copy(), region.inside.copy()
    part = region.hu[: index.size]
    part += cover * (risen - part)
    region.inside[: index.size] &= cover < 0.5
    carry_over(region.hu, before, lung, region.apart, region.base_hu)
    region.healthy_hu = region.hu.copy()
    region.forget()


def _smooth(levels: np.ndarray, covered: np.ndarray, region: LungRegion, sigma_mm: float) -> np.ndarray:
    """(y, x) levels without the steps of the slices, where columns are covered."""
    sigma = (sigma_mm / region.spacing_mm[1], sigma_mm / region.spacing_mm[2])
    weight = ndimage.gaussian_filter(covered.astype(np.float32), sigma)
    return ndimage.gaussian_filter(levels * covered, sigma) / np.maximum(weight, 1e-3)
