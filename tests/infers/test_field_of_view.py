from __future__ import annotations

import numpy as np
import pytest

from datastore.phantom import chest_phantom
from infers.field_of_view import framed, is_within_body


@pytest.mark.parametrize("value_hu", [-1024, -3024, 0, 40])
def test_a_whole_chest_and_a_scan_of_nothing_need_no_frame(value_hu):
    hu = chest_phantom(1, (10, 96, 96), (25.0, 4.5, 4.5)).image.array
    assert not is_within_body(hu)
    assert not is_within_body(np.full((3, 32, 32), value_hu, dtype=np.int16))


def test_a_crop_through_the_lungs_does():
    hu = chest_phantom(1, (10, 96, 96), (25.0, 4.5, 4.5)).image.array
    assert is_within_body(hu[2:8, 33:62, 26:70])


def test_the_frame_is_25_mm_of_tissue_around_the_slices():
    hu = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    wide, inside = framed(hu, (5.0, 10.0, 25.0))
    assert wide.shape == (2, 9, 6)
    np.testing.assert_array_equal(wide[inside], hu)
    assert wide.sum() - hu.sum() == 40 * (wide.size - hu.size)
