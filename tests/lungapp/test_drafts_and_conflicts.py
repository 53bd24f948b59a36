"""What annotators see of drafts, conflicts and reviews, with the unmodified MONAI Label client class on a real port."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import uvicorn
from click.testing import CliRunner
from conftest import REPOSITORY, PhantomProject

with warnings.catch_warnings():  # its `import cgi`
    warnings.simplefilter("ignore", DeprecationWarning)
    from monailabel.client import MONAILabelClient
    from monailabel.client.client import MONAILabelClientException

from datastore.image_files import read_mask, write_mask
from datastore.records import Case, Kind, Label, NewCase, Source, Status
from datastore.registry import Registry
from datastore.volume import Volume
from lungapp.app import LungApp
from lungapp.binding import address_of, bind
from lungapp.cli import main
from lungapp.server import create_app

TINY = {"shape": (8, 16, 16), "spacing_mm": (40.0, 24.0, 24.0)}


class Site:
    """A served project, its registry, and annotators who work at it."""

    def __init__(self, address: str, app: LungApp, made: PhantomProject, folder: Path) -> None:
        self.address = address
        self.app = app
        self.registry: Registry = app.registry
        self.made = made
        self.folder = folder

    def annotator(self, name: str) -> MONAILabelClient:
        own = self.folder / name
        own.mkdir(exist_ok=True)
        return MONAILabelClient(self.address, str(own), client_id=name)

    def mask(self, case_id: str, cut: int = 0) -> Volume:
        """The true mask of a case without its first slices."""
        array = self.made.phantoms[case_id].lungs.array.copy()
        array[:cut] = 0
        return self.made.phantoms[case_id].lungs.with_array(array)

    def submit(self, name: str, case_id: str, cut: int = 0, tag: str = "", **params: Any) -> Label:
        """Submit as the plug-in does; the newest version, as the registry has it then."""
        path = self.folder / f"{name}.nii.gz"
        write_mask(self.mask(case_id, cut), path, overwrite=True)
        self.annotator(name).save_label(case_id, str(path), tag=tag, params=params)
        return self.registry.labels(case_id)[-1]

    def accept(self, label: Label) -> None:
        self.app.finish_checks()
        self.registry.accept(label.id, "rita", "as it should be")

    def get(self, path: str, **params: str) -> Any:
        answer = requests.get(f"{self.address}{path}", params=params, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def status_of(self, path: str, **params: str) -> int:
        return requests.get(f"{self.address}{path}", params=params, timeout=30).status_code

    def label_info(self, label: str, tag: str) -> Any:
        return self.get("/datastore/label/info", label=label, tag=tag)

    def story(self, case_id: str) -> str:
        shown = CliRunner().invoke(main, ["cases", "show", case_id, "-p", str(self.made.project.folder)])
        assert shown.exit_code == 0, shown.output
        return shown.output


@pytest.fixture
def site(make_project: Callable[..., PhantomProject], tmp_path: Path) -> Iterator[Site]:
    made = make_project(2, **TINY)
    app = LungApp(str(REPOSITORY / "lungapp"), str(made.project.folder), {})
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(app), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Site(address_of(listener), app, made, tmp_path)
    server.should_exit = True
    thread.join()
    listener.close()


def test_drafts_are_kept_and_the_submitted_mask_takes_their_place(site: Site) -> None:
    ann = site.annotator("ann")
    case_id = ann.next_sample("random", {})["id"]
    first = site.submit("ann", case_id, 1, tag="draft")
    assert (first.kind, site.registry.case(case_id).status) == (Kind.DRAFT, Status.DRAFT)
    second = site.submit("ann", case_id, 2, tag="draft", seconds=90)
    assert ann.info()["datastore"]["completed"] == 0
    assert ann.next_sample("random", {})["id"] != case_id  # which ann holds still
    np.testing.assert_array_equal(
        read_mask(Path(ann.download_label(case_id, "draft"))).array, site.mask(case_id, 2).array
    )
    assert site.label_info(case_id, "draft")["label_id"] == second.id
    assert site.status_of("/datastore/label", label=case_id, tag="final") == 404

    final = site.submit("ann", case_id, 0, seconds=300.5)
    assert [label.kind for label in site.registry.labels(case_id)] == [
        Kind.SUPERSEDED,
        Kind.SUPERSEDED,
        Kind.SUBMITTED,
    ]
    assert (final.parent, final.conflict, final.seconds) == (second.id, False, 300.5)
    assert ann.info()["datastore"]["completed"] == 1
    assert site.status_of("/datastore/label", label=case_id, tag="draft") == 404  # nothing is in progress
    assert site.label_info(first.id, "draft")["kind"] == "superseded"  # but nothing is lost
    assert site.registry.case(case_id).leased_by is None


def test_another_annotators_draft_stays_theirs(site: Site) -> None:
    anns = site.submit("ann", "0001", 1, tag="draft")
    bobs = site.submit("bob", "0001", 2)
    assert [label.kind for label in site.registry.labels("0001")] == [Kind.DRAFT, Kind.SUBMITTED]
    assert site.registry.case("0001").status is Status.SUBMITTED
    assert site.label_info("0001", "draft")["label_id"] == anns.id
    assert site.label_info("0001", "final")["label_id"] == bobs.id


def test_two_annotators_on_one_case_open_a_conflict_that_everybody_sees(site: Site) -> None:
    site.registry.lease_case("0001", "ann", site.app.lease_duration)
    bobs = site.submit("bob", "0001", 1)  # who opened it by its id
    anns = site.submit("ann", "0001", 2)
    assert site.registry.case("0001").status is Status.CONFLICT
    info = site.label_info("0001", "final")
    assert (info["label_id"], info["conflict"], info["kind"], info["client_id"]) == (anns.id, True, "submitted", "ann")
    assert site.label_info(bobs.id, "final")["conflict"] is False
    story = site.story("0001")
    assert "0001  conflict" in story
    (flagged,) = [line for line in story.splitlines() if line.endswith("CONFLICT")]
    assert anns.id in flagged
    assert site.get("/datastore/", output="all")["objects"]["0001"]["image"]["info"]["status"] == "conflict"
    assert requests.get(f"{site.address}/?status=conflict", timeout=30).text.count('class="case"') == 1
    assert site.annotator("cid").next_sample("random", {})["id"] == "0002"

    site.accept(bobs)
    assert site.registry.case("0001").status is Status.ACCEPTED
    assert site.label_info("0001", "final")["label_id"] == bobs.id
    assert site.label_info(anns.id, "final") == {**info, "kind": "superseded", "conflict": False}
    assert "CONFLICT" not in site.story("0001")
    shown = CliRunner().invoke(main, ["cases", "show", "0001", "--json", "-p", str(site.made.project.folder)])
    assert [label["conflict"] for label in json.loads(shown.stdout)["labels"]] == [False, False]


def test_a_client_that_says_its_parent_opens_no_conflict(site: Site) -> None:
    first = site.submit("ann", "0001", 1)
    second = site.submit("bob", "0001", 2, parent=first.id, seconds=12)
    assert (second.parent, second.conflict, second.seconds) == (first.id, False, 12.0)
    assert site.registry.label(first.id).kind is Kind.SUPERSEDED
    assert "in 0 min" in site.story("0001") and f"on {first.id}" in site.story("0001")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"parent": "0001-00000000"}, "parent '0001-00000000' is no version of case 0001"),
        ({"parent": "../0001"}, "is no version of case 0001"),
        ({"parent": {"id": 7}}, "is no version of case 0001"),
        ({"parent": "OTHER"}, "is no version of case 0001"),
        ({"seconds": "12"}, "seconds '12': expected a number from 0 to 604800"),
        ({"seconds": -1}, "seconds '-1'"),
        ({"seconds": True}, "seconds 'True'"),
        ({"seconds": 1e9}, "seconds '1000000000.0'"),
        ({"seconds": float("nan")}, "seconds 'nan'"),
    ],
)
def test_a_bad_parent_or_time_is_refused_and_the_upload_is_kept(
    site: Site, params: dict[str, Any], reason: str
) -> None:
    if params.get("parent") == "OTHER":
        params = {"parent": site.submit("bob", "0002").id}
    with pytest.raises(MONAILabelClientException) as refused:
        site.submit("ann", "0001", **params)
    status, _, response = refused.value.msg.partition("; Response: ")
    assert status == "Status: 400"
    detail = json.loads(response)["detail"]
    assert reason in detail and "\n" not in detail
    (kept,) = (site.made.project.labels / "0001" / "refused").iterdir()
    assert kept.name in detail
    assert kept.read_bytes() == (site.folder / "ann.nii.gz").read_bytes()
    assert site.registry.labels("0001") == []


def test_labels_are_found_by_tag_by_their_case_and_by_their_own_id(site: Site) -> None:
    site.annotator("ann").infer("threshold", "0001", {"result_extension": ".nii.gz"})
    (original,) = site.registry.labels("0001")
    draft = site.submit("ann", "0001", 1, tag="draft")
    final = site.submit("bob", "0001", 2)
    by_tag = {"original": original, "draft": draft, "final": final}
    for tag, wanted in by_tag.items():
        for label_id in ("0001", wanted.id):
            assert site.label_info(label_id, tag)["label_id"] == wanted.id
            answer = requests.get(f"{site.address}/datastore/label", {"label": label_id, "tag": tag}, timeout=30)
            assert answer.content == wanted.path.read_bytes()
            head = requests.head(f"{site.address}/datastore/label", params={"label": label_id, "tag": tag}, timeout=30)
            assert head.status_code == 200
        for other in set(by_tag) - {tag}:
            assert site.status_of("/datastore/label", label=wanted.id, tag=other) == 404
        assert site.status_of("/datastore/label", label="0002", tag=tag) == 404
    assert site.status_of("/datastore/label", label="0001", tag="accepted") == 400
    assert site.status_of("/datastore/label", label="0001-00000000", tag="final") == 404


def test_a_case_that_is_not_eligible_is_opened_by_its_id(site: Site) -> None:
    first: Case = site.registry.case("0001")
    path = site.folder / "short.nii.gz"
    path.write_bytes(first.source.path.read_bytes())
    short = NewCase(Source(path), first.shape, first.geometry, exclusion="62 slices < 100")
    assert site.registry.add_case(short)[0].id == "0003"
    ann = site.annotator("ann")
    offered = [ann.next_sample("random", {})["id"] for _ in range(4)]
    assert set(offered) == {"0001", "0002"}
    assert ann.info()["datastore"]["total"] == 2
    assert "0003" not in ann.datastore()["objects"]
    assert site.get("/datastore/image/info", image="0003")["name"].startswith("0003-")
    mask, _ = ann.infer("threshold", "0003", {"result_extension": ".nii.gz"})
    assert read_mask(Path(mask)).array.shape == first.shape
    site.made.phantoms["0003"] = site.made.phantoms["0001"]
    assert site.submit("ann", "0003").kind is Kind.SUBMITTED
    assert ann.info()["datastore"]["completed"] == 0
    assert site.get("/datastore/", output="train") == []


def test_the_overview_follows_what_reviewers_decide(site: Site) -> None:
    def overview() -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
        everything = site.get("/datastore/", output="all")["objects"]
        return (
            site.get("/datastore/", output="train"),
            {case_id: case["labels"]["final"]["info"]["label_id"] for case_id, case in everything.items()},
            site.get("/datastore/", output="stats"),
        )

    first = site.submit("ann", "0001", 1)
    site.accept(first)
    other = site.submit("ann", "0002", 1)
    stats = {"total": 2, "completed": 2, "label_tags": {"original": 2, "final": 2}}
    pairs = {"0001": first.id, "0002": other.id}
    assert overview() == ([{"image": "0001", "label": first.id}, {"image": "0002", "label": other.id}], pairs, stats)

    # The accepted mask is corrected; until somebody reviews it, the correction is what clients go on from
    site.registry.reopen("0001", "rita", "trachea included")
    second = site.submit("bob", "0001", 2, parent=first.id)
    assert overview()[1]["0001"] == overview()[0][0]["label"] == second.id

    # It is rejected: the accepted one is the case's mask again, everywhere
    site.registry.reject(second.id, "rita", "worse than before")
    assert site.registry.case("0001").status is Status.ACCEPTED
    assert overview() == ([{"image": "0001", "label": first.id}, {"image": "0002", "label": other.id}], pairs, stats)
    assert [pair["label"] for pair in site.app.datastore().datalist()] == [str(first.path), str(other.path)]
    assert site.label_info("0001", "final")["label_id"] == first.id

    # A conflict: two are submitted, the later is the case's mask until it is rejected
    late = site.submit("cid", "0002", 3)
    assert site.registry.case("0002").status is Status.CONFLICT
    assert overview()[0][1]["label"] == overview()[1]["0002"] == late.id
    site.registry.reject(late.id, "rita", "late")
    assert overview()[0][1]["label"] == overview()[1]["0002"] == other.id

    # All are rejected: clients get the last one to correct, and nothing of it trains
    site.registry.reject(other.id, "rita", "no")
    train, final, stats = overview()
    assert train == [{"image": "0001", "label": first.id}]
    assert final["0002"] == late.id
    assert (stats["completed"], stats["label_tags"]["final"]) == (1, 1)
