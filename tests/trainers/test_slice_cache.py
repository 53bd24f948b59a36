"""A volume's slices are made once, noticed when torn, and safe whatever other processes do."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from infers.preprocess import Preprocessing
from trainers import slice_cache
from trainers.slice_cache import ABANDONED_S, SliceCache
from trainers.slice_file import HEADER_FILE, PAGE, RECORDS_FILE, StoredSlices, write_slices
from trainers.slices import SliceSet, TrainingSlices, VolumeSlices, training_slices

HOW = Preprocessing(size=20)
IMAGE, LABEL, OTHER = "a" * 64, "b" * 64, "c" * 64


def volume(slices: int = 40, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Noise, with lung in every third slice."""
    hu = np.random.default_rng(seed).integers(-1100, 700, (slices, 30, 24)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[::3, 4:20, 3:9], labels[::3, 4:20, 14:20] = 1, 2
    return hu, labels


class Maker:
    """Counts how often it is asked."""

    def __init__(self, seed: int = 1) -> None:
        self.seed, self.asked = seed, 0

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        self.asked += 1
        return volume(seed=self.seed)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def assert_is(slices: TrainingSlices, expected: TrainingSlices) -> None:
    for name in ("images", "labels", "has_lung"):
        np.testing.assert_array_equal(getattr(slices, name), getattr(expected, name))
    images, labels = SliceSet([VolumeSlices(slices, "a")]).read(range(len(slices)))
    np.testing.assert_array_equal(images, expected.images.astype(np.float32))
    np.testing.assert_array_equal(labels, expected.labels)


def test_a_volume_is_what_preprocessing_makes_of_it(tmp_path: Path) -> None:
    cached = SliceCache(tmp_path / "cache").volume(IMAGE, LABEL, HOW, volume)
    expected = training_slices(*volume(), HOW)
    assert expected.labels.any() and not expected.has_lung.all()
    assert_is(cached, expected)
    assert (cached.images.dtype, cached.labels.dtype, cached.has_lung.dtype) == (np.float16, np.uint8, bool)
    assert len(cached) == 40 and not cached.images.flags.writeable and not cached.labels.flags.writeable


def test_a_volume_is_made_once(tmp_path: Path) -> None:
    make = Maker()
    for _ in range(3):
        SliceCache(tmp_path).volume(IMAGE, LABEL, HOW, make)
    assert make.asked == 1 and len(entries(tmp_path)) == 1


@pytest.mark.parametrize("changed", ["image", "label", "size", "window", "version"])
def test_what_changed_is_made_anew_and_the_rest_is_not(
    tmp_path: Path, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, first, second = SliceCache(tmp_path), Maker(), Maker(seed=2)
    cache.volume(IMAGE, LABEL, HOW, first)
    image, label, how = {
        "image": (OTHER, LABEL, HOW),
        "label": (IMAGE, OTHER, HOW),
        "size": (IMAGE, LABEL, replace(HOW, size=16)),
        "window": (IMAGE, LABEL, replace(HOW, hu_high=400)),
        "version": (IMAGE, LABEL, HOW),
    }[changed]
    with monkeypatch.context() as patched:
        if changed == "version":
            patched.setattr(slice_cache, "SLICES_VERSION", 2)
        assert_is(cache.volume(image, label, how, second), training_slices(*volume(seed=2), how))
    assert_is(cache.volume(IMAGE, LABEL, HOW, first), training_slices(*volume(), HOW))
    assert (first.asked, second.asked, len(entries(tmp_path))) == (1, 1, 2)


def cut(path: Path, length: int) -> None:
    os.truncate(path, length)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def replaced_by_a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("not a folder")


def of_another_volume(entry: Path) -> None:
    write_slices(entry, {"image_sha256": OTHER}, [training_slices(*volume(seed=7), HOW)])


TEARS: dict[str, Callable[[Path], object]] = {
    "records cut short": lambda entry: cut(entry / RECORDS_FILE, 39 * PAGE),
    "records cut within the last": lambda entry: cut(entry / RECORDS_FILE, 40 * PAGE - 1),
    "records too long": lambda entry: cut(entry / RECORDS_FILE, 41 * PAGE),
    "records empty": lambda entry: cut(entry / RECORDS_FILE, 0),
    "records gone": lambda entry: (entry / RECORDS_FILE).unlink(),
    "header gone": lambda entry: (entry / HEADER_FILE).unlink(),
    "header empty": lambda entry: cut(entry / HEADER_FILE, 0),
    "header cut short": lambda entry: cut(entry / HEADER_FILE, 100),
    "header without its last byte": lambda entry: cut(entry / HEADER_FILE, (entry / HEADER_FILE).stat().st_size - 1),
    "header with more at its end": lambda entry: (entry / HEADER_FILE).open("a").write("0"),
    "folder empty": lambda entry: [path.unlink() for path in entry.iterdir()],
    "a file in its place": replaced_by_a_file,
    "another volume in its place": of_another_volume,
}


@pytest.mark.parametrize("tear", TEARS.values(), ids=TEARS.keys())
def test_a_torn_entry_is_noticed_and_made_anew(tmp_path: Path, tear: Callable[[Path], object]) -> None:
    make = Maker()
    SliceCache(tmp_path).volume(IMAGE, LABEL, HOW, make)
    tear(entries(tmp_path)[0])
    for _ in range(2):
        assert_is(SliceCache(tmp_path).volume(IMAGE, LABEL, HOW, make), training_slices(*volume(), HOW))
    assert make.asked == 2 and len(entries(tmp_path)) == 1


def test_any_flipped_bit_of_the_header_is_noticed(tmp_path: Path) -> None:
    make = Maker()
    SliceCache(tmp_path).volume(IMAGE, LABEL, HOW, make)
    header = entries(tmp_path)[0] / HEADER_FILE
    places = range(0, header.stat().st_size, 11)
    for asked, place in enumerate(places, start=2):
        flip(header, place)
        SliceCache(tmp_path).volume(IMAGE, LABEL, HOW, make)
        assert make.asked == asked, place
    assert make.asked == 1 + len(places) > 30


def test_making_that_failed_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> tuple[np.ndarray, np.ndarray]:
        raise KeyboardInterrupt

    def other_grid() -> tuple[np.ndarray, np.ndarray]:
        hu, labels = volume()
        return hu, labels[1:]

    def wrong_type_late() -> tuple[np.ndarray, np.ndarray]:
        hu, labels = volume()
        return hu.astype(np.int32), labels

    cache = SliceCache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cache.volume(IMAGE, LABEL, HOW, interrupted)
    with pytest.raises(ValueError, match="mask grid"):
        cache.volume(IMAGE, LABEL, HOW, other_grid)
    with pytest.raises(ValueError, match="int16"):
        cache.volume(IMAGE, LABEL, HOW, wrong_type_late)
    with pytest.raises(ValueError, match="expected a volume with slices, got none"):
        cache.volume(IMAGE, LABEL, HOW, lambda: (volume()[0][:0], volume()[1][:0]))
    assert not entries(tmp_path)


FORK = multiprocessing.get_context("fork")


def make_and_be_killed(folder: Path, step: int) -> None:
    """Steps: records synced, header synced, their folder synced, renamed, the cache's folder synced."""
    steps = 0

    def counted(call: Callable[..., None], *arguments: object) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)
        call(*arguments)

    os.fsync, os.rename = partial(counted, os.fsync), partial(counted, os.rename)  # type: ignore[assignment]
    SliceCache(folder).volume(IMAGE, LABEL, HOW, volume)


@pytest.mark.parametrize("step", range(1, 6))
def test_a_process_that_was_killed_leaves_a_whole_entry_or_none(tmp_path: Path, step: int) -> None:
    process = FORK.Process(target=make_and_be_killed, args=(tmp_path, step))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    make = Maker()
    assert_is(SliceCache(tmp_path).volume(IMAGE, LABEL, HOW, make), training_slices(*volume(), HOW))
    assert make.asked == (0 if step == 5 else 1)


def test_two_that_make_the_same_at_once_end_with_one(tmp_path: Path) -> None:
    inner = Maker()

    def overtaken() -> tuple[np.ndarray, np.ndarray]:
        SliceCache(tmp_path).volume(IMAGE, LABEL, HOW, inner)  # as another process, between looking and making
        return volume()

    assert_is(SliceCache(tmp_path).volume(IMAGE, LABEL, HOW, overtaken), training_slices(*volume(), HOW))
    assert inner.asked == 1 and len(entries(tmp_path)) == 1
    SliceCache(tmp_path).volume(IMAGE, LABEL, HOW, inner)
    assert inner.asked == 1


def make_many(folder: Path) -> None:
    for number in range(30):
        slices = SliceCache(folder).volume(f"{number:064x}", LABEL, HOW, partial(volume, 4, number))
        assert_is(slices, training_slices(*volume(4, number), HOW))


def test_processes_at_once_get_whole_volumes(tmp_path: Path) -> None:
    running = [FORK.Process(target=make_many, args=(tmp_path,)) for _ in range(3)]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
    assert [process.exitcode for process in running] == [0, 0, 0]
    assert len(entries(tmp_path)) == 30


def test_what_is_open_can_be_read_on_when_the_cache_is_deleted(tmp_path: Path) -> None:
    make = Maker()
    cached = SliceCache(tmp_path / "cache").volume(IMAGE, LABEL, HOW, make)
    shutil.rmtree(tmp_path / "cache")
    assert_is(cached, training_slices(*volume(), HOW))
    SliceCache(tmp_path / "cache").volume(IMAGE, LABEL, HOW, make)
    assert make.asked == 2


def test_slices_go_to_another_process_by_name(tmp_path: Path) -> None:
    cached = SliceCache(tmp_path).volume(IMAGE, LABEL, HOW, volume)
    slices = SliceSet([VolumeSlices(cached, "a", ("covid",))])
    pickled = pickle.dumps(slices)
    assert len(pickled) < 2000
    again = pickle.loads(pickled)
    assert_is(again.volumes[0].slices, training_slices(*volume(), HOW))
    assert again.volumes[0].groups == ("covid",) and len(again) == 40
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError, match="the training slices are no longer there"):
        pickle.loads(pickled)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux")
def test_reading_leaves_nothing_in_memory_and_open_volumes_take_no_descriptors(tmp_path: Path) -> None:
    def mapped_pages_kb() -> int:
        maps = Path("/proc/self/smaps").read_text()
        return sum(int(kb) for kb in re.findall(rf"/{RECORDS_FILE}\n(?:.+\n)*?Rss: +(\d+) kB", maps))

    descriptors = len(os.listdir("/proc/self/fd"))
    how = Preprocessing(size=64)
    cached = SliceCache(tmp_path).volume(IMAGE, LABEL, how, volume)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    slices = SliceSet([VolumeSlices(cached, "a")])
    for _ in range(2):
        slices.read(range(40))
        assert mapped_pages_kb() == 0
    assert cached.images.max() > 0.5 and mapped_pages_kb() > 300  # so it would have been seen


def test_pruning_deletes_what_is_not_kept_and_what_was_abandoned(tmp_path: Path) -> None:
    cache, make = SliceCache(tmp_path), Maker()
    kept, outdated = cache.volume(IMAGE, LABEL, HOW, make), cache.volume(IMAGE, OTHER, HOW, make)
    young, old = tmp_path / ".writing-1-x", tmp_path / ".writing-2-x"
    for folder in (young, old):
        folder.mkdir()
        (folder / RECORDS_FILE).write_bytes(bytes(9))
    long_ago = young.stat().st_mtime - ABANDONED_S - 60
    os.utime(old, (long_ago, long_ago))
    assert isinstance(kept, StoredSlices)
    assert cache.prune([kept]) == 1
    assert entries(tmp_path) == sorted([kept.folder, young])
    assert_is(outdated, training_slices(*volume(), HOW))
    assert SliceCache(tmp_path / "missing").prune([]) == 0


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"])
def test_what_is_no_hash_is_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="expected the SHA-256 of the label as 64 hexadecimal digits"):
        SliceCache(tmp_path).volume(IMAGE, digest, HOW, volume)
    with pytest.raises(ValueError, match="expected the SHA-256 of the image"):
        SliceCache(tmp_path).volume(digest, LABEL, HOW, volume)
