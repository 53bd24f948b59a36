"""A new model's preliminary masks take the place of an older model's, and of nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from registries import HALF_HOUR, label, mask, new_case, submit_and_accept

from datastore.records import Kind, Status
from datastore.registry import Registry

OLD, NEW = "unet-old", "unet-new"


def preliminary(model: str | None) -> object:
    return label(Kind.PRELIMINARY, model, "lungapp", client_id=None)


@pytest.fixture
def masked(registry: Registry) -> Registry:
    """Eight cases with the old model's mask."""
    registry.add_cases([new_case(f"case-{number}", study_uid=f"1.{number}") for number in range(8)])
    for case_id in registry.case_ids():
        registry.add_label(case_id, mask(), preliminary(OLD))  # type: ignore[arg-type]
    return registry


def refresh(registry: Registry, case_id: str) -> bool:
    return registry.replace_preliminary(case_id, mask(2), preliminary(NEW)) is not None  # type: ignore[arg-type]


def test_the_old_mask_is_superseded_and_kept(masked: Registry) -> None:
    assert refresh(masked, "0001")
    old, new = masked.labels("0001")
    assert (old.kind, old.made_as, old.path.exists()) == (Kind.SUPERSEDED, Kind.PRELIMINARY, True)
    assert (new.kind, new.model) == (Kind.PRELIMINARY, NEW)
    assert masked.case("0001").status is Status.PRELIMINARY
    assert masked.best_label("0001") == new
    assert list(masked.check()) == []


def test_a_mask_that_the_model_made_already_is_not_made_again(masked: Registry) -> None:
    assert refresh(masked, "0001") and not refresh(masked, "0001")
    assert len(masked.labels("0001")) == 2
    assert masked.outdated(NEW) == masked.case_ids()[1:]
    assert masked.outdated(OLD) == ["0001"]


def test_what_somebody_holds_has_drawn_or_finished_is_left_alone(masked: Registry) -> None:
    masked.lease_case("0001", "slicer-ann", HALF_HOUR)
    masked.add_label("0002", mask(2), label(Kind.DRAFT))
    masked.add_label("0003", mask(2), label(findings=()))
    submit_and_accept(masked, "0004")
    rejected = masked.add_label("0005", mask(2), label(findings=()))
    masked.reject(rejected.id, "rita", "again")
    masked.lease_case("0006", "slicer-ann", timedelta(0))  # has run out
    foreign = masked.add_label("0007", mask(2), preliminary(None))  # type: ignore[arg-type]
    before = {case_id: masked.labels(case_id) for case_id in masked.case_ids()}
    files = sorted(masked.labels_folder.rglob("*"))
    left_alone = ["0001", "0002", "0003", "0004", "0005", "0007"]
    assert [case_id for case_id in left_alone if refresh(masked, case_id)] == []
    assert {case_id: masked.labels(case_id) for case_id in masked.case_ids()} == before
    assert sorted(masked.labels_folder.rglob("*")) == files
    assert masked.labels("0007")[-1] == foreign
    assert masked.outdated(NEW) == ["0006", "0008"]
    assert refresh(masked, "0006")


def test_a_case_that_is_taken_while_its_mask_is_written_keeps_the_old_one(
    masked: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = masked._write_file

    def written_meanwhile(case_id: str, new: object) -> object:
        file = write(case_id, new)  # type: ignore[arg-type]
        masked.lease_case(case_id, "slicer-ann", HALF_HOUR)
        return file

    monkeypatch.setattr(masked, "_write_file", written_meanwhile)
    assert not refresh(masked, "0001")
    assert [version.kind for version in masked.labels("0001")] == [Kind.PRELIMINARY]
    assert list(masked.check()) == []
    assert len(list((masked.labels_folder / "0001").iterdir())) == 1


def test_an_open_case_without_a_mask_gets_one(masked: Registry) -> None:
    masked.add_case(new_case("another", study_uid="1.99"))
    assert refresh(masked, "0009")
    assert [version.model for version in masked.labels("0009")] == [NEW]


def test_a_correction_follows_the_mask_that_its_author_was_given(masked: Registry) -> None:
    masked.lease_case("0001", "slicer-ann", timedelta(0))  # ann goes to lunch, and her lease runs out
    given = masked.labels("0001")[0]
    assert refresh(masked, "0001")
    submitted = masked.add_label("0001", mask(2), label(findings=(), model="unet"))
    assert submitted.parent == given.id
    masked.lease_case("0002", "slicer-ann", HALF_HOUR)
    assert not refresh(masked, "0002")
    masked.release("0002", "slicer-ann")
    assert refresh(masked, "0002")
    masked.lease_case("0002", "slicer-bob", HALF_HOUR)
    bobs = masked.add_label("0002", mask(), label(by="bob", findings=()))
    assert bobs.parent == masked.labels("0002")[1].id


def test_only_a_models_preliminary_mask_on_the_images_grid_is_taken(masked: Registry) -> None:
    with pytest.raises(ValueError, match="expected a model's preliminary mask, got a draft one"):
        masked.replace_preliminary("0001", mask(), label(Kind.DRAFT, "unet"))
    with pytest.raises(ValueError, match="does not match image"):
        wrong = mask().with_array(mask().array)
        object.__setattr__(wrong, "array", wrong.array[:2])
        masked.replace_preliminary("0001", wrong, preliminary(NEW))  # type: ignore[arg-type]
