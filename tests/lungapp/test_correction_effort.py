"""What corrections cost, from label versions as annotators hand them in."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import assert_refused, run, run_json
from conftest import PhantomProject
from registries import label

from datastore.records import Kind, Label, NewLabel
from datastore.registry import Registry
from datastore.volume import Volume
from infers.effort import correction_effort
from lungapp.correction_effort import corrections_of, measured_corrections

SMALL = {"shape": (24, 40, 40), "spacing_mm": (12.0, 9.0, 9.0)}


class Studio:
    """A project whose cases get masks: the true lungs without their lowest slices."""

    def __init__(self, made: PhantomProject) -> None:
        self.made = made
        self.registry: Registry = made.project.registry()

    def mask(self, case_id: str, lowest: int = 0) -> Volume:
        lungs = self.made.phantoms[case_id].lungs.array.copy()
        lungs[:lowest] = 0
        return Volume(lungs, self.registry.case(case_id).geometry)

    def model(self, case_id: str, lowest: int, model: str = "unet-1") -> Label:
        new = NewLabel(Kind.PRELIMINARY, author="lungapp", tool="unet", model=model)
        return self.registry.add_label(case_id, self.mask(case_id, lowest), new)

    def submit(self, case_id: str, lowest: int, by: str = "ann", **how: object) -> Label:
        return self.registry.add_label(case_id, self.mask(case_id, lowest), label(by=by, findings=(), **how))

    def effort(self, *options: object) -> list[dict[str, object]]:
        found: list[dict[str, object]] = run_json("cases", "effort", "-p", self.made.project.folder, *options)[
            "corrections"
        ]
        return found


@pytest.fixture
def studio(make_project: Callable[..., PhantomProject]) -> Studio:
    return Studio(make_project(2, **SMALL))


def test_a_correction_is_measured_against_the_mask_that_it_began_with(studio: Studio) -> None:
    before = studio.model("0001", 14)
    after = studio.submit("0001", 10, seconds=240.0)
    studio.model("0001", 12, "unet-2")  # a later one, which nobody has seen yet
    (row,) = studio.effort()
    expected = correction_effort(studio.mask("0001", 14), studio.mask("0001", 10), 240.0)
    assert (row["case"], row["mask"], row["before"], row["model"]) == ("0001", after.id, before.id, "unet-1")
    assert (row["annotator"], row["kind"], row["shared"], row["problem"]) == (
        "ann (slicer-ann)",
        "submitted",
        False,
        None,
    )
    assert row["mean_dice"] == pytest.approx(expected.mean_dice)
    assert row["left_lung_dice"] == pytest.approx(expected.dice["left_lung"])
    assert row["edited_ml"] == pytest.approx(expected.edited_ml)
    assert row["added_path_mm"] == pytest.approx(expected.added_path_mm)
    assert row["seconds"] == 240.0
    assert expected.edited_ml > 0 and expected.added_path_mm > 0


def test_the_last_version_of_each_annotator_counts_with_all_their_time(studio: Studio) -> None:
    preliminary = studio.model("0001", 14)
    first = studio.submit("0001", 12, seconds=100.0, parent=preliminary.id)
    studio.registry.add_label(
        "0001", studio.mask("0001", 13), label(Kind.DRAFT, by="ann", parent=first.id, seconds=1000.0)
    )
    last = studio.submit("0001", 10, seconds=50.0)
    studio.registry.accept(last.id, "rita")
    other = studio.submit("0001", 9, by="bob", parent=last.id, seconds=7.0)
    found = corrections_of(studio.registry.labels("0001"))
    assert [(item.after.id, item.seconds, item.is_shared) for item in found] == [
        (last.id, 150.0, False),
        (other.id, 7.0, True),
    ]
    assert {item.before.id for item in found if item.before} == {preliminary.id}
    (before_ann, before_bob) = (item.effort for item in measured_corrections(studio.registry))
    assert before_ann is not None and before_bob is not None
    assert before_ann.edited_ml == pytest.approx(
        correction_effort(studio.mask("0001", 14), studio.mask("0001", 10)).edited_ml
    )
    assert before_bob.edited_ml > before_ann.edited_ml


def test_time_is_unknown_if_one_version_on_the_way_does_not_say(studio: Studio) -> None:
    studio.model("0001", 14)
    studio.submit("0001", 12)
    studio.submit("0001", 10, seconds=50.0)
    (row,) = studio.effort()
    assert row["seconds"] is None


def test_what_nobody_drew_here_is_no_correction(studio: Studio) -> None:
    studio.model("0001", 14)
    studio.registry.add_label(
        "0001", studio.mask("0001"), NewLabel(Kind.ACCEPTED, author="LOLA", tool="import lola", findings=())
    )
    first = studio.submit("0002", 3)
    studio.submit("0002", 4, parent=first.id)
    studio.registry.restore(first.id, "rita")
    studio.registry.add_label("0002", studio.mask("0002"), label(target="tumour"))
    assert [row["annotator"] for row in studio.effort()] == ["ann (slicer-ann)"]


def test_work_that_began_with_nothing_is_all_of_the_mask(studio: Studio) -> None:
    studio.submit("0001", 0)
    (row,) = studio.effort()
    lungs = studio.mask("0001")
    assert (row["before"], row["model"], row["mean_dice"]) == (None, "(nothing)", 0.0)
    assert row["edited_ml"] == pytest.approx((lungs.array > 0).sum() * lungs.geometry.voxel_ml)


@pytest.mark.parametrize("damage", ["missing", "changed", "torn"])
@pytest.mark.parametrize("which", ["before", "after"])
def test_a_mask_that_cannot_be_read_is_a_row_of_its_own(studio: Studio, damage: str, which: str) -> None:
    before, after = studio.model("0001", 14), studio.submit("0001", 10)
    studio.model("0002", 14)
    studio.submit("0002", 10)
    bad = before if which == "before" else after
    if damage == "missing":
        bad.path.unlink()
    elif damage == "changed":
        (after if which == "before" else before).path.replace(bad.path)
    else:
        bad.path.write_bytes(bad.path.read_bytes()[:100])
    folder = studio.made.project.folder
    result = run("cases", "effort", "-p", folder, "--csv", folder / "effort.csv")
    assert result.exit_code == 1
    reason = f"mask {bad.id}: its file {'is missing' if damage == 'missing' else 'was changed since it was stored'}"
    if damage != "changed":
        assert reason in result.stderr
        assert str(bad.path) not in result.output
    rows = list(csv.DictReader((folder / "effort.csv").open()))
    assert [bool(row["problem"]) for row in rows] == [True, False]
    assert rows[0]["mean_dice"] == "" and float(rows[1]["mean_dice"]) > 0.5
    assert "all  2 corrections" in result.stdout and "1 not measured" in result.stdout


def test_groups_have_their_count_median_and_quartiles(studio: Studio) -> None:
    folder = studio.made.project.folder
    for case_id, model, lowest in (("0001", "unet-1", 14), ("0002", "unet-2", 12)):
        studio.model(case_id, lowest, model)
    one = studio.submit("0001", 10, by="ann", seconds=100.0)
    studio.submit("0001", 9, by="bob", parent=one.parent, seconds=200.0)
    studio.submit("0002", 10, by="ann", seconds=400.0)
    rows = studio.effort()
    for by, names in (
        ("model", ["unet-1", "unet-2"]),
        ("annotator", ["ann (slicer-ann)", "bob (slicer-bob)"]),
        ("case", ["0001", "0002"]),
    ):
        groups = run_json("cases", "effort", "--by", by, "-p", folder)["groups"]
        assert [group["name"] for group in groups] == names
        for group in groups:
            values = [row["seconds"] for row in rows if row[by] == group["name"]]
            low, median, high = np.percentile(np.array(values, float), [25, 50, 75])
            spread = {"count": len(values), "median": median, "low": low, "high": high}
            assert group["spreads"]["seconds"] == pytest.approx(spread)
            assert group["corrections"] == len(values)
    (together,) = run_json("cases", "effort", "-p", folder)["groups"]
    assert together["name"] == "all"
    assert together["spreads"]["seconds"] == {"count": 3, "median": 200.0, "low": 150.0, "high": 300.0}
    text = run("cases", "effort", "--by", "annotator", "-p", folder).stdout.splitlines()
    assert text[0].startswith("ann (slicer-ann)  2 corrections  Dice 0.")
    assert text[0].endswith("time 4.2 (2.9 to 5.4) min")
    assert len(text) == 2


def test_a_project_without_corrections_says_so(studio: Studio) -> None:
    studio.model("0001", 14)
    assert run("cases", "effort", "-p", studio.made.project.folder).stdout == "all  0 corrections\n"
    assert run_json("cases", "effort", "--by", "model", "-p", studio.made.project.folder) == {
        "corrections": [],
        "groups": [],
    }


def test_the_table_replaces_nothing_but_a_table(studio: Studio, tmp_path: Path) -> None:
    studio.model("0001", 14)
    studio.submit("0001", 10)
    folder, table = studio.made.project.folder, tmp_path / "effort.csv"
    for _ in range(2):
        assert run("cases", "effort", "-p", folder, "--csv", table).exit_code == 0
    assert len(table.read_text().splitlines()) == 2
    table.write_text("mine")
    assert_refused(run("cases", "effort", "-p", folder, "--csv", table), "is no table of corrections")
    nowhere = tmp_path / "nowhere" / "effort.csv"
    assert_refused(run("cases", "effort", "-p", folder, "--csv", nowhere), f"{nowhere}: no such folder")
    assert table.read_text() == "mine"
