"""Which files belong together, what cases are called, and which group they are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungapp.evaluation.cases import Roster
from lungapp.evaluation.groups import are_groups, by_column, by_folder, read_table
from lungapp.evaluation.labels import labels_of
from lungapp.evaluation.pairing import case_names, named_files, pair
from lungapp.evaluation.predictions import predictions_of


def made(folder: Path, *names: str) -> Path:
    """A folder with empty files of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def roster_of(*references: str) -> dict[str, str]:
    return case_names(references)


@pytest.mark.parametrize(
    ("reference", "other"),
    [
        ("a/0042", "a/0042"),
        ("a/0042_lung", "a/0042"),
        ("a/0042", "a/0042_0000"),
        ("a/0042_Lung_Mask", "a/0042-ct"),
        ("a/0042.seg", "a/0042"),
        ("a/0042/lung", "a/0042/image"),
        ("a/0042/lung", "a/0042"),
        ("a/0042", "0042"),
        ("0042", "b/c/0042_pred"),
        ("a/0042_gtv", "b/0042-label"),
    ],
)
def test_files_of_one_case_are_found(reference: str, other: str) -> None:
    assert pair({"case": reference, "other": "x/y"}, [other, "z"], "mask") == {"case": other}


@pytest.mark.parametrize(
    ("reference", "other"),
    [("a/0042", "a/0043"), ("0042", "00420"), ("0042", "42"), ("lung_1", "lung_2"), ("a/0042", "a/0042_b")],
)
def test_other_files_are_not(reference: str, other: str) -> None:
    assert pair({"case": reference}, [other], "mask") == {}


def test_the_nearer_name_wins() -> None:
    assert pair({"a": "a"}, ["a_lung", "a", "x/a"], "mask") == {"a": "a"}
    assert pair({"a": "a"}, ["a_lung", "x/a"], "mask") == {"a": "a_lung"}


def test_a_last_name_that_others_have_too_pairs_nothing() -> None:
    """The mask of site3 is nobody's: site1 has its own, and site2 none."""
    cases = {"one": "site1/001", "two": "site2/001"}
    assert pair(cases, ["site1/001", "site3/001"], "mask") == {"one": "site1/001"}


@pytest.mark.parametrize(
    ("references", "others", "both"),
    [
        (["a"], ["a_lung", "a_mask"], ("a_lung", "a_mask")),
        (["a"], ["x/a", "y/a"], ("x/a", "y/a")),
        (["x/a", "y/a"], ["a"], ("x/a", "y/a")),
        (["a_lung", "a_mask"], ["a"], ("a_lung", "a_mask")),
    ],
)
def test_two_candidates_are_refused_and_both_named(
    references: list[str], others: list[str], both: tuple[str, str]
) -> None:
    with pytest.raises(ValueError, match="two") as caught:
        pair({name: name for name in references}, others, "mask")
    assert all(name in str(caught.value) for name in both)


def test_cases_are_called_by_their_files_without_the_ending_of_a_mask() -> None:
    assert roster_of("a/1_lung", "b/mask", "c_0000") == {"a/1": "a/1_lung", "b": "b/mask", "c_0000": "c_0000"}


def test_two_cases_never_have_one_name() -> None:
    assert list(case_names(["a", "a_lung"])) == ["a", "a_lung"]
    assert list(case_names(["a", "a_lung"], taken=["a", "a_lung"])) == ["a'", "a_lung'"]


def test_files_are_listed_by_their_path_without_suffix(tmp_path: Path) -> None:
    made(tmp_path, "b/1.nii.gz", "a.seg.nrrd", "b/2.mha", "notes.txt", "b/.hidden.nii", "a.entropy.nii.gz")
    assert named_files(tmp_path) == {
        "a": tmp_path / "a.seg.nrrd",
        "b/1": tmp_path / "b/1.nii.gz",
        "b/2": tmp_path / "b/2.mha",
    }


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a.mha and a.nii.gz have one name"):
        named_files(made(tmp_path, "a.nii.gz", "a.mha"))


def test_masks_without_a_reference_become_cases_that_all_models_share(tmp_path: Path) -> None:
    roster = Roster.of_folders(made(tmp_path / "ref", "a_lung.nii", "b.nii"), None)
    roster.add_predictions("one", made(tmp_path / "one", "a.nii", "z_pred.nii"))
    roster.add_predictions("two", made(tmp_path / "two", "z.nii", "b.nii"))
    cases = {case.case: case for case in roster.files(["one", "two"], {"a": "group"})}
    assert list(cases) == ["a", "b", "z"]
    assert cases["a"].reference == tmp_path / "ref" / "a_lung.nii"
    assert (cases["a"].group, cases["b"].group) == ("group", "")
    assert cases["a"].predictions == (("one", tmp_path / "one" / "a.nii"), ("two", None))
    assert cases["z"].reference is None
    assert cases["z"].predictions == (("one", tmp_path / "one/z_pred.nii"), ("two", tmp_path / "two/z.nii"))


def test_a_folder_of_which_nothing_fits_is_refused_with_examples(tmp_path: Path) -> None:
    roster = Roster.of_folders(made(tmp_path / "ref", "a.nii"), None)
    with pytest.raises(ValueError, match="got x, y, expected a"):
        roster.add_predictions("one", made(tmp_path / "one", "x.nii", "y.nii"))


def test_images_are_shared_out_and_those_of_no_case_are_counted(tmp_path: Path) -> None:
    roster = Roster.of_folders(made(tmp_path / "ref", "s/a.nii"), made(tmp_path / "gtv", "s/a_gtv.nii", "s/b_gtv.nii"))
    roster.add_images(made(tmp_path / "images", "s/a_0000.nii", "s/b_0000.nii", "s/c_0000.nii"))
    first, second = roster.files([], {})
    assert first.image == tmp_path / "images/s/a_0000.nii" and first.tumour == tmp_path / "gtv/s/a_gtv.nii"
    assert second.case == "s/b" and second.reference is None and second.image is not None
    assert roster.unused == 1


def test_the_first_folder_is_the_group() -> None:
    makers = roster_of("ltrc/a/lung", "ltrc/b/lung", "vess/x", "single")
    groups = by_folder(makers)
    assert groups == {"ltrc/a": "ltrc", "ltrc/b": "ltrc", "vess/x": "vess", "single": ""}
    assert are_groups(groups)
    assert not are_groups(by_folder(roster_of("a/first", "b/second")))
    assert not are_groups(by_folder(roster_of("a", "b")))


def test_a_column_of_a_table_is_the_group(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("\ufeffcase,kind,site\n a ,mass,x\nb_ct,normal , y\nmore,mass,z\n", encoding="utf-8")
    rows = read_table(table)
    makers = roster_of("s/a_lung", "b")
    assert by_column(makers, rows, "kind", makers) == {"s/a": "mass", "b": "normal"}
    with pytest.raises(ValueError, match="columns kind, site: --by says which"):
        by_column(makers, rows, None, makers)
    with pytest.raises(ValueError, match="columns kind, site: got --by age"):
        by_column(makers, rows, "age", makers)
    others = roster_of("s/a_lung", "c", "d")
    with pytest.raises(ValueError, match="no row for c and 1 other$"):
        by_column(others, rows, "kind", others)
    assert by_column(others, rows, "kind", ["s/a"]) == {"s/a": "mass"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name,kind\na,b\n", "expected a column `case`"),
        (b"case\na\n", "and another one"),
        (b"", "expected a column `case`"),
        (b"case,kind\na,b\na,c\n", "case a twice"),
        (b"case,kind\na,b\na ,c\n", "case a twice"),
        (b"case,kind,kind\na,b,c\n", "two columns have one name: case, kind, kind"),
        (b"case,kind\na\n", "row 2 has not 2 columns"),
        (b"case,kind\na,b,c\n", "row 2 has not 2 columns"),
        (b"case,kind\n\xff,b\n", "cannot be read as a table"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_table(tmp_path / "t.csv")
    assert "t.csv" in str(caught.value)


def test_labels_are_known_by_word_or_given_one_by_one() -> None:
    assert [item.name for item in labels_of("lungs").structures] == ["right_lung", "left_lung"]
    assert len(labels_of("lobes").structures) == 5
    assert labels_of("whole").whole and [item.value for item in labels_of("whole").structures] == [1]
    given = labels_of("1=lung,7 = airway")
    assert [(item.value, item.name) for item in given.structures] == [(1, "lung"), (7, "airway")]
    assert len({item.colour for item in given.structures}) == 2


@pytest.mark.parametrize("text", ["lung", "1", "1=", "=a", "0=a", "256=a", "x=a", "1=a,1=b", "1=a,2=a", "1=a,", "²=a"])
def test_labels_that_cannot_be_understood_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected lungs, lobes, whole, or numbers"):
        labels_of(text)


def test_predictions_are_folders_and_models_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path, "masks/a.nii", "x=y/a.nii", "deep/net.safetensors")
    found = predictions_of(["masks/", "x=y", "mine=masks", "fast", "r=R231", "deep/net.safetensors"])
    assert [(item.name, item.is_folder) for item in found] == [
        ("masks", True),
        ("x=y", True),
        ("mine", True),
        ("fast", False),
        ("r", False),
        ("net", False),
    ]
    assert [item.place for item in found][-2:] == ["R231", "deep/net.safetensors"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a/masks", "b/masks"], "a/masks and b/masks would both be called masks"),
        (["nowhere/masks"], "no such folder"),
        (["a/masks/1.nii"], "expected a folder of masks or a model, got a file"),
        (["x="], "expected a folder or a model"),
        (["../x=a/masks"], "cannot be the name"),
        ([".x=a/masks"], "cannot be the name"),
    ],
)
def test_predictions_that_cannot_be_told_apart_or_found_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path, "a/masks/1.nii", "b/masks/1.nii")
    with pytest.raises(ValueError, match=words):
        predictions_of(texts)
