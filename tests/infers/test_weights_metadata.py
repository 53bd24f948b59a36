from __future__ import annotations

import json
from typing import Any

import pytest

from datastore.labels import LOBES, LUNGS, Structure
from infers.preprocess import Preprocessing
from infers.weights_metadata import Border, Origin, WeightsMetadata, check_structures, metadata_from

FULL = WeightsMetadata(
    Preprocessing(hu_low=-1000, hu_high=500, size=128), LOBES, "lobes-1", Origin("a.pth", "0a" * 32), "9.9", Border.AIR
)


def test_metadata_comes_back_from_json_as_it_was() -> None:
    assert metadata_from(json.loads(json.dumps(FULL.to_plain()))) == FULL
    assert metadata_from(json.loads(json.dumps(WeightsMetadata().to_plain()))) == WeightsMetadata()


def test_what_older_files_do_not_say_has_its_default() -> None:
    old = {"architecture": "unet", "preprocessing": {"hu_low": -1024, "hu_high": 600, "size": 256}}
    assert metadata_from(old) == WeightsMetadata()
    assert metadata_from({}) == WeightsMetadata()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": "transformer"}, "expected architecture unet, got 'transformer'"),
        ({"name": "../../x"}, "expected the name of a model"),
        ({"name": ["x"]}, "expected the name of a model"),
        ({"preprocessing": {"size": 10**12}}, "expected a size"),
        ({"preprocessing": {"size": 100}}, "expected a size"),
        ({"preprocessing": {"size": "256"}}, "whole number for size, got '256'"),
        ({"preprocessing": {"hu_low": True}}, "whole number for hu_low, got True"),
        ({"preprocessing": {"hu_low": 700}}, "hu_low below hu_high, got 700 and 600"),
        ({"preprocessing": {"colour": 1}}, "expected preprocessing by hu_high, hu_low, size"),
        ({"preprocessing": [1]}, "expected preprocessing by"),
        ({"structures": {"1": "lung"}}, "expected a list of at most 255 structures"),
        ({"structures": [{"value": 1, "name": "lung"}]}, "value, name and colour"),
        ({"structures": [{"value": 1, "name": "a\x1b[2J", "colour": [0, 0, 0]}]}, "value, name and colour"),
        ({"structures": [{"value": 1, "name": "a", "colour": [0, 0, float("nan")]}]}, "value, name and colour"),
        ({"structures": [{"value": 0, "name": "a", "colour": [0, 0, 0]}]}, "value, name and colour"),
        ({"structures": [{"value": v, "name": "a", "colour": [0, 0, 0]} for v in (1, 2)]}, "the same name"),
        ({"border": "water"}, "expected border as one of network, air, got 'water'"),
        ({"border": None}, "expected border as one of network, air, got None"),
        ({"origin": {"file_name": "a.pth"}}, "expected the file_name and sha256"),
        ({"origin": {"file_name": "a.pth", "sha256": "x" * 64}}, "expected the file_name and sha256"),
    ],
)
def test_values_that_cannot_be_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        metadata_from({**FULL.to_plain(), **changed})
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("plain", [None, [], "unet", 3])
def test_metadata_is_names_and_values(plain: Any) -> None:
    with pytest.raises(ValueError, match="expected names and values"):
        metadata_from(plain)


def test_words_from_a_file_cannot_steer_a_terminal() -> None:
    plain = {**FULL.to_plain(), "origin": {"file_name": "a\x1b[2J.pth", "sha256": "0a" * 32}, "lungapp_version": "\n1"}
    found = metadata_from(plain)
    assert found.origin is not None and found.origin.file_name == "a [2J.pth"
    assert found.lungapp_version == " 1"


@pytest.mark.parametrize(
    ("structures", "classes"), [(LUNGS, 6), (LOBES, 3), ((), 2), (LUNGS[::-1], 3), ((Structure(2, "a", (0, 0, 0)),), 2)]
)
def test_a_label_map_has_a_name_for_each_class_in_turn(structures: tuple[Structure, ...], classes: int) -> None:
    with pytest.raises(ValueError, match=f"expected labels 1 to {classes - 1} for a network of {classes} classes"):
        check_structures(structures, classes)


def test_lungs_fit_three_classes_and_lobes_six() -> None:
    check_structures(LUNGS, 3)
    check_structures(LOBES, 6)
