"""What is known of the published models; lungmask itself is the judge."""

from __future__ import annotations

import importlib.metadata
import re

import pytest
from lungmask.mask import MODEL_URLS

from datastore.labels import LOBES, LUNGS
from infers.published import FUSED, PUBLISHED, fused_named, published_as, published_named, published_with


def test_the_published_models_are_those_of_lungmask() -> None:
    assert {model.name: (model.url, model.classes) for model in PUBLISHED} == MODEL_URLS


def test_the_numbers_of_lungs_and_lobes_are_those_that_lungmask_documents() -> None:
    readme = importlib.metadata.distribution("lungmask").read_text("METADATA")
    documented = re.findall(r"^(\d) = (\w[\w ]*?\w) ?\\?$", str(readme), re.MULTILINE)
    ours = [(str(structure.value), structure.name.replace("_", " ")) for structure in (*LUNGS, *LOBES)]
    assert [(number, name.lower()) for number, name in documented] == ours


@pytest.mark.parametrize("name", ["LTRCLobes", "ltrclobes", "LTRCLOBES"])
def test_a_published_model_is_known_in_any_case(name: str) -> None:
    model = published_named(name)
    assert model is not None and model.structures == LOBES
    assert published_named(f"{name}2") is None


def test_a_file_is_recognised_by_its_checksum_and_apart_from_that_by_its_name() -> None:
    model = published_with("3a07043d" + "0" * 56)
    assert model is not None and model.name == "LTRCLobes"
    assert published_with("0" * 56 + "3a07043d") is None
    for name in ("unet_r231-d5d2fc3d.pth", "unet_r231-D5D2FC3D (2).pth", "x-d5d2fc3d.safetensors"):
        namesake = published_as(name)
        assert namesake is not None and namesake.name == "R231"
    assert published_as("unet_r231.pth") is None


def test_a_fused_pair_is_two_published_models() -> None:
    assert [pair.name for pair in FUSED] == ["LTRCLobes_R231"]
    pair = fused_named("ltrclobes_r231")
    assert pair is not None
    assert (pair.base, pair.fill) == ("LTRCLobes", "R231")
    assert all(published_named(name) for name in (pair.base, pair.fill))
    assert fused_named("R231") is None
