"""The HTML report of an evaluation: what stands in it, and that it holds together wherever it is opened."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from datastore.nifti import write_nifti
from datastore.phantom import chest_phantom
from infers.metrics import METRICS, StructureScore, score, tumour_overlap
from lungapp import __version__
from lungapp.evaluation.figures import metric_plots, tumour_plots
from lungapp.evaluation.findings import findings
from lungapp.evaluation.records import CaseFiles, CaseResult, Evaluation, Outcome
from lungapp.evaluation.report import BY_KEY, figure, report_page, write_report
from lungapp.evaluation.summary import headline, summary
from lungapp.evaluation.tables import comparisons, segmentation_table, structure_table, tumour_table

DAY = datetime(2026, 3, 4, 12, tzinfo=UTC)
VOID = {"meta", "link", "img", "br", "input"}
MODELS = ("ours", "theirs")


@dataclass
class Cell:
    tag: str
    scope: str | None
    text: str = ""


@dataclass
class Table:
    caption: str = ""
    rows: list[list[Cell]] = field(default_factory=list)

    @property
    def texts(self) -> list[list[str]]:
        return [[" ".join(cell.text.split()) for cell in row] for row in self.rows]


class Page(HTMLParser):
    """A page's elements, tables and texts; a tag that is not closed, or closed twice, is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[Table] = []
        self.inside: dict[str, str] = {}
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag in VOID:
            return
        self.open.append(tag)
        if tag == "table":
            self.tables.append(Table())
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append(Cell(tag, dict(attributes).get("scope")))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            if tag == "title" and "svg" in self.open:
                continue
            self.inside[tag] = self.inside.get(tag, "") + data
        if "caption" in self.open:
            self.tables[-1].caption += data
        elif {"td", "th"} & set(self.open):
            self.tables[-1].rows[-1][-1].text += data

    @property
    def text(self) -> str:
        """What stands in the body, without the script."""
        return " ".join(self.inside["body"].replace(self.inside.get("script", ""), " ").split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, caption: str) -> list[list[str]]:
        found = [table.texts for table in self.tables if " ".join(table.caption.split()).startswith(caption)]
        assert len(found) == 1, f"{len(found)} tables {caption!r}"
        return found[0]


def structure(name: str, dice: float, mm: float | None = None) -> StructureScore:
    """A score of a lung of a litre; missed if Dice is 0."""
    distance = (math.inf if dice == 0 else 40 * (1 - dice)) if mm is None else mm
    ml = 1000.0 * (dice > 0)
    return StructureScore(
        name, 1000.0, ml, dice, dice / (2 - dice), dice, dice, 0.999, ml - 1000, (ml - 1000) / 10,
        2 * distance, distance, distance / 4, distance / 5, dice**2,
    )  # fmt: skip


def result(model: str, case: str, dice: float, group: str = "", **more: object) -> CaseResult:
    structures = (structure("right_lung", dice), structure("left_lung", dice))
    return CaseResult(model, case, group, structures=structures, **more)  # type: ignore[arg-type]


def evaluation_of(*results: CaseResult, **more: object) -> Evaluation:
    """Without files."""
    cases = tuple(CaseFiles(case, group) for group, case in dict.fromkeys((item.group, item.case) for item in results))
    models = tuple(dict.fromkeys(item.model for item in results))
    return Evaluation(models, cases, results, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Two models on nine phantoms of three groups: with tumours, a lung missed, masks missing, no reference."""
    folder = tmp_path_factory.mktemp("evaluation")
    cases, results = [], []
    for number in range(9):
        phantom = chest_phantom(number, (24, 48, 48), (12.0, 8.0, 8.0), lesion=True)
        name, group = f"case-{number}", ("RRT", "LTRC", "Trauma")[number % 3]
        paths = {}
        for kind, volume in (("image", phantom.image), ("reference", phantom.lungs), ("tumour", phantom.lesion)):
            assert volume is not None
            paths[kind] = folder / f"{name}-{kind}.nii.gz"
            write_nifti(volume, paths[kind], compression=1)
        predictions: list[tuple[str, Path | None]] = []
        for model, slices in (("ours", 1), ("theirs", 3)):
            array = phantom.lungs.array.copy()
            array[np.flatnonzero(array.any(axis=(1, 2)))[:slices]] = 0
            if (model, number) == ("theirs", 4):
                array[array == 2] = 0
            mask, path = phantom.lungs.with_array(array), folder / f"{name}-{model}.nii.gz"
            write_nifti(mask, path, compression=1)
            predictions.append((model, path))
            if number == 8:
                results.append(CaseResult(model, name, group, Outcome.NO_REFERENCE, "no reference"))
            elif (model, number) == ("ours", 7):
                results.append(CaseResult(model, name, group, Outcome.FAILED, "torn.nii.gz: empty file (0 bytes)"))
            elif (model, number) == ("theirs", 6):
                results.append(CaseResult(model, name, group, Outcome.NO_PREDICTION, "no mask of theirs"))
            else:
                assert phantom.lesion is not None
                overlap = tumour_overlap(phantom.lesion, mask)
                results.append(
                    CaseResult(model, name, group, structures=score(phantom.lungs, mask), tumour_overlap=overlap)
                )
        cases.append(CaseFiles(name, group, paths["reference"], tuple(predictions), paths["image"], paths["tumour"]))
    return Evaluation(MODELS, tuple(cases), tuple(results))


@pytest.fixture(scope="module")
def page(found: Evaluation) -> Page:
    return Page(report_page(found, "Two models", DAY))


def test_the_head_says_what_was_evaluated_with_what(page: Page) -> None:
    assert page.inside["title"] == page.inside["h1"] == "Two models"
    facts = " ".join(page.inside["dl"].split())
    for fact in (
        "2026-03-04",
        "Cases9",
        "1ours 2theirs",
        "right lung, left lung",
        "Dice2 mm",
        f"lungapp {__version__}",
    ):
        assert fact in facts


def test_the_tables_are_those_of_the_evaluation(page: Page, found: Evaluation) -> None:
    tumours = tumour_table(found)
    assert tumours is not None
    for table in (segmentation_table(found), structure_table(found), tumours):
        head, *rows = page.table(f"{table.title} {table.note}"[:60])
        assert head == ["Model", *table.columns]
        expected = [[cell.text for cell in cells] for _, cells in table.rows]
        assert [row[1:] for row in rows] == expected
        assert [row[0] for row in rows] == [f"{place}{name}" for place, (name, _) in enumerate(table.rows, start=1)]


def test_every_number_of_every_case_stands_in_the_last_table(page: Page, found: Evaluation) -> None:
    head, *rows = page.table("Means over the structures")
    assert len(rows) == len(found.results) == 18
    for row, item in zip(rows, found.results, strict=True):
        said = dict(zip(head, row, strict=True))
        assert (said["Case"], said["Model"], said["Outcome"]) == (item.case, item.model, item.outcome)
        for metric in METRICS:
            assert said[f"{metric.title} ({metric.unit})" if metric.unit else metric.title] == figure(
                item.value(metric.key), metric
            )
        for each in item.structures:
            assert said[f"DSC {each.name.replace('_', ' ')}"] == figure(each.dice, BY_KEY["dice"])
        overlap = None if item.tumour_overlap is None else 100 * item.tumour_overlap
        assert said["Tumour covered (%)"] == figure(overlap, BY_KEY["volume_error_percent"])


def test_every_comparison_stands_there_with_its_sentence(page: Page, found: Evaluation) -> None:
    sentences = [item.sentence() for item in comparisons(found)]
    assert sentences
    assert all(sentence in page.text for sentence in sentences)


def test_the_worst_cases_come_with_pictures_and_their_numbers(page: Page, found: Evaluation) -> None:
    assert len(page.all("article")) == 8
    head, right, left, mean = page.table("Scores of case-4 by structure")
    assert left[:2] == ["left lung", "only in the reference"]
    assert (left[head.index("DSC")], left[head.index("HD95 (mm)")]) == ("0.000", "∞")
    worst = next(item for item in found.results if (item.case, item.model) == ("case-4", "theirs"))
    assert right[head.index("Reference (ml)")] == f"{worst.structures[0].reference_ml:.1f}"
    assert mean[head.index("DSC")] == figure(worst.value("dice"), BY_KEY["dice"])
    pictures = page.all("img")
    assert len(pictures) >= 16
    for picture in pictures:
        assert str(picture["alt"]).startswith(("Axial slice", "Coronal slice"))
        kind, _, content = str(picture["src"]).partition(",")
        assert kind == "data:image/png;base64"
        width, height = (int.from_bytes(base64.b64decode(content)[start : start + 4]) for start in (16, 20))
        assert (picture["width"], picture["height"]) == (str(width), str(height))


def test_failures_and_missing_masks_are_listed_with_reasons(page: Page) -> None:
    failed = page.table("Failures Masks with a mean DSC below 0.9")
    assert failed[1][:3] == ["case-4", "LTRC", "2theirs"]
    assert failed[1][-1] == "left lung only in the reference"
    missing = page.table("Without a score")[1:]
    assert sorted(missing) == [
        ["case-6", "RRT", "2theirs", "missing prediction", "no mask of theirs"],
        ["case-7", "LTRC", "1ours", "failed", "torn.nii.gz: empty file (0 bytes)"],
        ["case-8", "Trauma", "1ours 2theirs", "missing reference", "no reference"],
    ]


def test_infinite_distances_are_counted_and_named_at_the_plots(page: Page) -> None:
    assert page.text.count("Infinite, as a structure is in only one of the two masks: case-4 (theirs).") == 2
    assert "1×" in page.inside["svg"]


def test_the_summary_says_in_words_what_happened(page: Page, found: Evaluation) -> None:
    for sentence in summary(found):
        assert sentence in page.text
    said = " ".join(summary(found))
    assert "9 cases in 3 groups, 2 models: 14 of 18 expected masks could be scored." in said
    assert "a structure is missed altogether in case-4" in said
    assert "1 case without a reference, 1 mask of ours not readable or comparable, 1 mask of theirs missing" in said
    assert headline(found, comparisons(found)) in page.text


def test_the_page_is_whole_and_can_be_read_with_a_screen_reader(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert all(table.caption.strip() for table in page.tables)
    assert all(cell.scope for table in page.tables for row in table.rows for cell in row if cell.tag == "th")
    assert {len(row) for table in page.tables for row in table.rows} >= {3}
    for table in page.tables:
        assert len({len(row) for row in table.rows}) == 1, table.caption
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    ids = [str(attributes["id"]) for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert str(link["href"])[1:] in ids
    for _, attributes in page.elements:
        assert str(attributes.get("aria-labelledby", ids[0])) in ids


def test_nothing_is_fetched_from_anywhere(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "xlink:href"):
            assert str(attributes.get(name, "#")).startswith(("#", "data:")), tag
        assert not any("http" in str(value) for key, value in attributes.items() if key != "http-equiv")
    assert not re.search(r"url\(|@import|@font-face", page.inside["style"])


def test_only_the_page_s_own_script_may_run(page: Page) -> None:
    policy = next(str(item["content"]) for item in page.all("meta") if "http-equiv" in item)
    digest = base64.b64encode(hashlib.sha256(page.inside["script"].encode()).digest()).decode()
    assert policy == (f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'")
    assert len(page.all("script")) == 1


def test_names_and_reasons_from_files_are_text_and_nothing_else() -> None:
    hostile = '<script>alert("x")</script>&amp;\'"'
    page = Page(
        report_page(
            evaluation_of(
                *(result(f"a{hostile}", f"{hostile}{n}", 0.5 + n / 50, hostile, notes=(hostile,)) for n in range(7)),
                *(result(f"b{hostile}", f"{hostile}{n}", 0.6 + n / 50, hostile) for n in range(7)),
                CaseResult(f"a{hostile}", "torn", "other", Outcome.FAILED, hostile),
            ),
            hostile,
            DAY,
        )
    )
    assert len(page.all("script")) == 1
    assert page.inside["title"] == page.inside["h1"] == hostile
    assert ["torn", "other", f"1a{hostile}", "failed", hostile] in page.table("Without a score")
    assert hostile in page.table("Failures")[1][-1]


def test_names_that_are_no_unicode_can_be_written(tmp_path: Path) -> None:
    odd = "caf\udce9\x1b[31m\u202e"
    write_report(evaluation_of(result(odd, odd, 0.4, odd)), tmp_path / "report.html", odd)
    assert "caf [31m" in Page((tmp_path / "report.html").read_text(encoding="utf-8")).text


def test_the_same_evaluation_gives_the_same_file_but_for_the_date(found: Evaluation, tmp_path: Path) -> None:
    for name, written in (("first", DAY), ("second", datetime(2027, 3, 4, tzinfo=UTC))):
        write_report(found, tmp_path / name, "Two models", written=written)
    first, second = ((tmp_path / name).read_bytes() for name in ("first", "second"))
    assert first != second
    assert first.replace(b"2026-03-04", b"2027-03-04") == second


def test_a_report_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    for dice in (0.5, 0.95):
        write_report(evaluation_of(result("ours", "a", dice)), path, "One")
    assert "No scored mask has a mean DSC below 0.9." in Page(path.read_text(encoding="utf-8")).text


def test_an_image_that_is_gone_is_a_note(found: Evaluation) -> None:
    cases = tuple(replace(case, image=Path("/gone/scan.nii.gz")) for case in found.cases)
    page = Page(report_page(replace(found, cases=cases), "Two models", DAY))
    assert page.text.count("shapes only: scan.nii.gz: no such file") == 8
    assert len(page.all("img")) >= 16


def test_masks_that_agree_to_the_voxel_are_no_worst_cases() -> None:
    page = Page(report_page(evaluation_of(result("ours", "a", 1.0), result("ours", "b", 0.97)), "One", DAY))
    assert len(page.all("article")) == 1


def test_at_most_twelve_worst_cases_are_shown() -> None:
    results = [result("ours", f"case-{number}", 0.9 + number / 1000) for number in range(20)]
    page = Page(report_page(evaluation_of(*results), "One", DAY))
    assert len(page.all("article")) == 12


def test_one_model_without_groups_needs_no_comparison() -> None:
    page = Page(report_page(evaluation_of(*(result("ours", str(n), 0.95) for n in range(6))), "One", DAY))
    assert "Comparisons" not in page.text
    assert "ours: mean DSC 0.950, median 0.950 (6 cases); none of 6 masks is below 0.9." in page.text
    assert "Nothing is missing: every mask was scored." in page.text


def test_tumours_alone_need_no_references() -> None:
    results = [CaseResult("ours", str(number), tumour_overlap=number / 5) for number in range(6)]
    page = Page(report_page(evaluation_of(*results, structures=()), "Tumours", DAY))
    assert page.table("Tumour overlap")[1][1] == "50.0%"
    assert "Test datasets" not in page.text
    assert "ours 50.0% of a tumour (median 50.0%, 6 cases)" in page.text


def test_where_tumours_alone_are_judged_nothing_is_said_of_dice() -> None:
    results = [CaseResult(name, str(number), tumour_overlap=0.5) for number in range(6) for name in MODELS]
    page = Page(report_page(evaluation_of(*results, structures=()), "Tumours", DAY))
    for words in ("too few", "Comparisons", "DSC", "Dice", "Structures", "against reference", "Counting"):
        assert words not in page.text


def test_an_evaluation_where_nothing_could_be_scored_is_a_page_as_well() -> None:
    results = [CaseResult("ours", str(n), "", Outcome.NO_PREDICTION, "no mask of ours") for n in range(3)]
    page = Page(report_page(evaluation_of(*results), "Nothing", DAY))
    assert "ours: no mask could be scored." in page.text
    assert len(page.table("Without a score")) == 4


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ({"b": 0.0, "c": 0.0}, "No difference in DSC is shown between a, b and c."),
        ({"b": 0.05, "c": 0.02}, "b agrees best with the references: its DSC is higher than that of a and c."),
        (
            {"b": 0.05, "c": 0.05},
            "No model is shown to be better than every other: a scores a lower DSC than b and c.",
        ),
    ],
)
def test_the_headline_claims_only_what_is_shown(gains: dict[str, float], said: str) -> None:
    results = [
        result(model, f"case-{n:02d}", 0.9 + n / 1000 + (gain + n / 5000 if gain else 0))
        for n in range(16)
        for model, gain in {"a": 0.0, **gains}.items()
    ]
    evaluation = evaluation_of(*results)
    assert headline(evaluation, comparisons(evaluation)) == said


def test_a_few_cases_are_too_few_for_a_headline() -> None:
    evaluation = evaluation_of(*(result(model, str(n), 0.9) for n in range(3) for model in MODELS))
    assert headline(evaluation, comparisons(evaluation)) == "There are too few cases to compare ours and theirs."


@pytest.mark.parametrize(
    ("value", "key", "text"),
    [
        (0.9876, "dice", "0.988"),
        (0.9997, "dice", "0.9997"),
        (math.inf, "hausdorff95_mm", "∞"),
        (math.nan, "precision", "–"),
        (None, "dice", "–"),
        (-0.001, "volume_error_ml", "0.0"),
        (12.345, "mean_surface_distance_mm", "12.35"),
    ],
)
def test_numbers_are_shown_with_as_many_digits_as_they_are_worth(value: float | None, key: str, text: str) -> None:
    assert figure(value, BY_KEY[key]) == text


def test_a_thousand_cases_stay_a_small_file() -> None:
    random = np.random.default_rng(0)
    results = [result("a", f"case-{n:04d}", float(random.uniform(0.8, 0.99)), f"group {n % 4}") for n in range(1000)]
    page = report_page(evaluation_of(*results), "Many", DAY)
    assert len(page.encode()) < 700_000  # 48 pictures of full size add 3 MB at most
    assert page.partition('id="cases"')[2].count('<th scope="row">case-') == 1000


@pytest.mark.parametrize("metric", ["dice", "hausdorff95_mm", "mean_surface_distance_mm"])
def test_bars_lie_on_the_better_models_side_for_dice_and_for_distances(metric: str) -> None:
    results = [
        result(model, f"case-{n:02d}", 0.9 + n / 1000 + gain + (n / 5000 if gain else 0))
        for n in range(16)
        for model, gain in (("a", 0.0), ("b", 0.05))
    ]
    evaluation = evaluation_of(*results)
    shown = next(item for item in findings(comparisons(evaluation), evaluation.models) if item.metric.key == metric)
    (bar,) = [item.bar for item in shown.overall]
    start = re.search(r'class="reach" d="M([\d.]+) ', bar)
    assert start is not None
    assert float(start[1]) > 125  # right of the middle, where b stands
    assert 'class="bar m1"' in bar


def test_many_groups_go_into_several_rows_with_one_axis() -> None:
    results = [result("a", str(n), 0.9 + n / 1000, f"group {n}") for n in range(30)]
    (dice, *_) = metric_plots(evaluation_of(*results))
    assert len(dice.svgs) == 3
    ticks = [re.findall(r'class="tick"[^>]*>([^<]*)<', svg) for svg in dice.svgs]
    assert ticks[0] == ticks[1] == ticks[2]
    assert [name for svg in dice.svgs for name in re.findall(r"<title>([^<]*)</title></text>", svg)] == [
        "All",
        *(f"group {n}" for n in range(30)),
    ]


def test_plots_have_the_groups_of_the_tables() -> None:
    cases = (("first", "LTRC"), ("second", "RRT"), ("third", "RRT"))
    (dice, *_) = metric_plots(evaluation_of(*(result("a", case, 0.9, group) for case, group in cases)))
    names = re.findall(r"<title>([^<]*)</title></text>", dice.svgs[0])
    counts = re.findall(r'class="count"[^>]*>(\d+)<', dice.svgs[0])
    assert dict(zip(names, counts, strict=True)) == {"All(L)": "3", "All": "2", "LTRC": "1", "RRT": "2"}


def test_tumours_are_plotted_in_percent() -> None:
    (plot,) = tumour_plots(evaluation_of(CaseResult("ours", "x", tumour_overlap=0.375)))
    assert "x, ours: 37.5<" in plot.svgs[0]
    assert ">100<" in plot.svgs[0]
