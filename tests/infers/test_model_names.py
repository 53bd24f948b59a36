from __future__ import annotations

from pathlib import Path

import pytest

from infers.model_names import check_name, is_path, unknown_model


@pytest.mark.parametrize("name", ["R231", "r231.v2", "my_lungs-3", "0", "a" * 64])
def test_ordinary_names_are_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "-p", "_a", "a/b", "../a", "/a", "a\\b", "a b", "a\n", "a\0", "\u0430", "é", "a" * 65]
    + ["threshold", "Threshold", "current", "LTRCLobes_R231", "ltrclobes_r231", "a.pth", "a.PTH", "a.safetensors"],
)
def test_names_with_tricks_or_another_meaning_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="model name"):
        check_name(name)


def test_a_file_is_told_from_a_name() -> None:
    assert [is_path(name) for name in ("R231", "r231.v2", "lungs")] == [False] * 3
    assert [is_path(name) for name in ("a.pth", "A.PTH", "w.safetensors", "./R231", "x/R231", Path("R231"))] == [
        True
    ] * 6


def test_an_unknown_name_is_answered_with_those_that_are_known() -> None:
    said = str(unknown_model("R232", ["lungs-1", "R231"]))
    assert said == (
        "no model 'R232': expected bootstrap, fast, anatomy3, threshold, lungs-1, R231, or a file of weights "
        "(.safetensors, .pth)"
    )


def test_a_published_model_that_is_not_imported_is_answered_with_the_very_command() -> None:
    said = str(unknown_model("ltrclobes", ["R231"]))
    assert "expected bootstrap, fast, anatomy3, threshold, R231, or a file" in said
    assert said.endswith("run `lungapp models import unet_ltrclobes-3a07043d.pth`")
    assert "https://github.com/JoHof/lungmask/releases/download/v0.0/unet_ltrclobes-3a07043d.pth" in said
