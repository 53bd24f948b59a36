"""Images and labels of a minibatch move together, as what was drawn says, and never change sides."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainers.augmentation import (
    Augmentation,
    AugmentationLimits,
    augment,
    draw_augmentation,
    each_slice,
    random_augmentation,
    sampling_places,
)

SIZE = 96
STRONG = AugmentationLimits(rotation_degrees=30, displacement_share=0.04, smoothness_share=0.16)


def picture(count: int = 1) -> tuple[Tensor, Tensor]:
    """Two boxes of their own brightness: label 1 at 0.4, label 2 at 0.8."""
    labels = torch.zeros((count, SIZE, SIZE), dtype=torch.uint8)
    labels[:, 24:66, 14:42] = 1
    labels[:, 30:72, 54:84] = 2
    return labels[:, None] * 0.4, labels


def drawn(count: int = 1, seed: int = 1, limits: AugmentationLimits = STRONG, **changes: object) -> Augmentation:
    return replace(draw_augmentation(count, np.random.default_rng(seed), limits), **changes)  # type: ignore[arg-type]


def still(count: int = 1, **changes: object) -> Augmentation:
    nothing = AugmentationLimits(rotation_degrees=0, displacement_share=0, noise_hu=0)
    return drawn(count, limits=nothing, **changes)


def quiet(augmentation: Augmentation) -> Augmentation:
    return replace(augmentation, noise=torch.zeros(len(augmentation)))


def test_nothing_drawn_changes_nothing() -> None:
    images, labels = picture()
    moved, moved_labels = augment(images, labels, still())
    torch.testing.assert_close(moved, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved_labels, labels)
    assert moved.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("seed", range(6))
def test_labels_stay_on_their_image(seed: int) -> None:
    images, labels = picture(3)
    moved, moved_labels = augment(images, labels, quiet(drawn(3, seed)))
    assert (moved_labels != labels).any(dim=(1, 2)).all()
    expected = (moved[:, 0] / 0.4).round()  # off only where bilinear edges are between two values
    assert ((expected == moved_labels).float().mean(dim=(1, 2)) > 0.97).all()
    assert set(moved_labels.unique().tolist()) == {0, 1, 2}


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64])
def test_labels_keep_their_type_and_their_numbers(kind: torch.dtype) -> None:
    labels = torch.full((2, SIZE, SIZE), 251, dtype=kind)
    labels[:, :40] = 7
    images = torch.zeros((2, 1, SIZE, SIZE))
    moved, moved_labels = augment(images, labels, drawn(2))
    assert moved_labels.dtype == kind and moved.dtype == torch.float32
    assert set(moved_labels.unique().tolist()) == {0, 7, 251}


def test_a_quarter_turn_goes_from_y_to_x() -> None:
    images, labels = picture()
    moved, moved_labels = augment(images, labels, still(turns=torch.tensor([torch.pi / 2])))
    torch.testing.assert_close(moved_labels, torch.rot90(labels, 1, (1, 2)))
    torch.testing.assert_close(moved, torch.rot90(images, 1, (2, 3)), atol=1e-4, rtol=0)


def test_the_field_is_white_noise_that_a_gaussian_smoothed() -> None:
    limits = AugmentationLimits(rotation_degrees=0, displacement_share=0.02, smoothness_share=0.08)
    augmentation = drawn(400, limits=limits)
    unit = augmentation.displacements.flatten(1).std(dim=1).view(-1, 1, 1, 1)
    augmentation = replace(augmentation, displacements=augmentation.displacements / unit)
    fields = (sampling_places(augmentation, 64) - sampling_places(still(1), 64)) / 2  # in sides
    assert fields.std(dim=0).mean() == pytest.approx(1, abs=0.03)
    assert abs(fields.std(dim=0) - 1).max() < 0.2  # at the rim as in the middle
    assert abs((fields[..., 0] * fields[..., 1]).mean()) < 0.03
    for apart in (4, 8, 16):  # two places share what both Gaussians reach
        for one, other in ((fields[:, apart:], fields[:, :-apart]), (fields[:, :, apart:], fields[:, :, :-apart])):
            expected = np.exp(-((apart / 64) ** 2) / (4 * 0.08**2))
            assert (one * other).mean() == pytest.approx(expected, abs=0.05)
            if apart == 8:  # at the rims, too
                rims = [(one * other)[:, 0], (one * other)[:, -1], (one * other)[:, :, 0], (one * other)[:, :, -1]]
                assert [rim.mean() for rim in rims] == pytest.approx([expected] * 4, abs=0.1)


def test_places_go_on_after_one_another_so_that_nothing_is_mirrored_or_folded() -> None:
    limits = AugmentationLimits(rotation_degrees=30)
    augmentation = drawn(300, limits=limits)
    largest = 0.02 / augmentation.displacements.flatten(1).std(dim=1)  # of the spread that can be drawn
    strongest = replace(augmentation, displacements=augmentation.displacements * largest.view(-1, 1, 1, 1))
    places = sampling_places(strongest, 128)
    down, across = places[:, 1:, :-1] - places[:, :-1, :-1], places[:, :-1, 1:] - places[:, :-1, :-1]
    assert (across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0] > 0).all()


def test_right_stays_right() -> None:
    images, labels = picture(60)
    _, moved = augment(images, labels, drawn(60))
    columns = torch.arange(SIZE).expand(60, SIZE, SIZE)
    right, left = (torch.stack([columns[k][moved[k] == n].float().mean() for k in range(60)]) for n in (1, 2))
    assert (right < left).all()


def test_noise_has_its_spread_in_hounsfield_units() -> None:
    images, labels = torch.full((2, 1, SIZE, SIZE), 0.5), torch.zeros((2, SIZE, SIZE), dtype=torch.uint8)
    noisy, _ = augment(images, labels, still(2, noise=torch.tensor([40 / 1624, 80 / 1624])))
    hu = noisy * 1624 - 1024
    assert hu[0].std() == pytest.approx(40, rel=0.05) and hu[1].std() == pytest.approx(80, rel=0.05)
    assert abs(np.corrcoef(hu[0].flatten(), hu[1].flatten())[0, 1]) < 0.05
    assert abs(hu.mean() + 212) < 2


def test_noise_is_clipped_to_the_window_and_follows_its_seed() -> None:
    images, labels = picture()
    loud = torch.tensor([2.0])
    first, second, other = (augment(images, labels, still(noise=loud, noise_seed=seed))[0] for seed in (3, 3, 4))
    assert (first.min(), first.max()) == (0, 1)
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_noise_of_another_window_is_another_share() -> None:
    narrow = replace(STRONG, window_hu=(-160, 240))
    torch.testing.assert_close(drawn(5, limits=narrow).noise * 400, drawn(5, limits=STRONG).noise * 1624)


def test_each_slice_is_resampled_once_however_many_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled: Counter[str] = Counter()

    def listen(given: Tensor, *args: object, mode: str, **rest: object) -> Tensor:
        sampled[mode] += len(given)
        return once(given, *args, mode=mode, **rest)  # type: ignore[arg-type]

    once = functional.grid_sample
    monkeypatch.setattr(functional, "grid_sample", listen)
    made = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        made.append(augment(*picture(3), drawn(3)))
    assert sampled == {"bilinear": 6, "nearest": 6}
    assert torch.equal(made[0][0], made[1][0]) and torch.equal(made[0][1], made[1][1])


def test_what_is_drawn_fills_the_limits() -> None:
    augmentation = drawn(4000, limits=STRONG)
    degrees = augmentation.turns.rad2deg()
    assert -30 <= degrees.min() < -29 and 29 < degrees.max() <= 30 and abs(degrees.mean()) < 1
    spreads = augmentation.displacements.flatten(1).std(dim=1)
    assert spreads.min() < 0.002 and 0.037 < spreads.max() < 0.046 and spreads.mean() == pytest.approx(0.02, rel=0.05)
    noise_hu = augmentation.noise * 1624
    assert noise_hu.min() < 1 and 39 < noise_hu.max() <= 40
    assert abs(np.corrcoef(spreads, noise_hu)[0, 1]) < 0.05 and abs(np.corrcoef(degrees, noise_hu)[0, 1]) < 0.05


def test_one_seed_gives_the_same_bits_and_another_does_not() -> None:
    images, labels = picture(4)
    first, second, other = (
        random_augmentation(STRONG)(images, labels, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1], other[1])


def test_a_slice_does_not_depend_on_its_neighbours() -> None:
    images, labels = picture(3)
    augmentation = quiet(drawn(3))
    alone = replace(
        augmentation,
        **{name: getattr(augmentation, name)[:1] for name in ("turns", "displacements", "noise")},  # type: ignore[arg-type]
    )
    whole, one = augment(images, labels, augmentation), augment(images[:1], labels[:1], alone)
    torch.testing.assert_close(whole[0][:1], one[0], atol=1e-5, rtol=0)
    assert (whole[1][:1] == one[1]).float().mean() > 0.999


def test_half_precision_around_it_changes_nothing() -> None:
    images, labels = picture(2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = augment(images, labels, drawn(2))
    outside = augment(images, labels, drawn(2))
    assert torch.equal(inside[0], outside[0]) and torch.equal(inside[1], outside[1])


def test_augmentation_is_no_part_of_what_is_learned() -> None:
    images, labels = picture()
    assert not augment(images.requires_grad_(), labels, drawn())[0].requires_grad


@pytest.mark.parametrize("change", ["slices", "labels", "width", "channels"])
def test_what_does_not_belong_together_is_refused(change: str) -> None:
    images, labels = picture(3)
    given = {
        "slices": (images[:2], labels[:2]),
        "labels": (images, labels[:, 1:]),
        "width": (images[..., 1:], labels[..., 1:]),
        "channels": (images.expand(-1, 2, -1, -1), labels),
    }[change]
    with pytest.raises(ValueError, match=r"expected images \(3, 1, size, size\) and labels .* for 3 augmentations"):
        augment(*given, drawn(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotation_degrees": -1.0}, "rotation_degrees: expected 0 or more, got -1.0"),
        ({"noise_hu": -2.0}, "noise_hu: expected 0 or more, got -2.0"),
        ({"displacement_share": -0.1}, "displacement_share: expected 0 or more, got -0.1"),
        ({"smoothness_share": 0.0}, "smoothness_share: expected more than 0 and at most 1, got 0.0"),
        ({"smoothness_share": 1.5}, "smoothness_share: expected more than 0 and at most 1, got 1.5"),
        ({"displacement_share": 0.03}, "displacement_share: expected at most 0.025, .* fold; got 0.03"),
        ({"window_hu": (600, -1024)}, "window_hu: expected the lower end first, got 600 and -1024"),
    ],
)
def test_limits_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentationLimits(**change)  # type: ignore[arg-type]


def halved(
    image: np.ndarray, labels: np.ndarray, random: np.random.Generator, size: int
) -> tuple[np.ndarray, np.ndarray]:
    step = len(image) // size
    shade = np.float32(random.random())
    return np.full((size, size), shade, np.float32), labels[::step, ::step]


def test_single_slices_have_generators_of_their_own_and_may_change_size() -> None:
    images, labels = picture(5)
    made = [each_slice(halved, SIZE // 2)(images, labels, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert made[0][0].shape == (5, 1, SIZE // 2, SIZE // 2) and made[0][0].dtype == torch.float32
    assert torch.equal(made[0][1], labels[:, ::2, ::2]) and made[0][1].dtype == torch.uint8
    assert torch.equal(made[0][0], made[1][0]) and len(made[0][0].unique()) == 5
    assert not set(made[0][0].unique().tolist()) & set(made[2][0].unique().tolist())
    assert each_slice(halved, SIZE)(images, labels.long(), np.random.default_rng(1))[1].dtype == torch.int64


def test_both_kinds_can_be_handed_to_another_process() -> None:
    images, labels = picture(2)
    for whole in (random_augmentation(STRONG), each_slice(halved, SIZE)):
        copied = pickle.loads(pickle.dumps(whole))
        first, second = (one(images, labels, np.random.default_rng(1)) for one in (whole, copied))
        assert torch.equal(first[0], second[0])
