"""The unmodified MONAI Label client class against live servers, with the calls that the Slicer plug-in makes."""

from __future__ import annotations

import hashlib
import threading
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests
from conftest import PhantomProject, free_port, live_server, our_server, stock_server

with warnings.catch_warnings():  # its `import cgi`
    warnings.simplefilter("ignore", DeprecationWarning)
    from monailabel.client import MONAILabelClient
    from monailabel.client.client import MONAILabelClientException

from datastore.image_files import read_ct, read_mask, write_mask
from datastore.nifti import write_nifti
from datastore.phantom import chest_phantom
from datastore.records import Kind

SWAPPED = {"label_info": [{"name": "left_lung", "idx": 1}, {"name": "right_lung", "idx": 2}], "model": "threshold"}


@pytest.fixture(params=["ours", "stock"])
def server_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def annotated(
    server_kind: str, make_project: Callable[..., PhantomProject], tmp_path: Path
) -> Iterator[tuple[str, PhantomProject]]:
    made = make_project(3)
    port = free_port()
    command = {"ours": our_server, "stock": stock_server}[server_kind](made.project, port)
    with live_server(command, port, tmp_path / "server.log") as server:
        yield server.address, made


def client(address: str, folder: Path, name: str) -> MONAILabelClient:
    folder = folder / name
    folder.mkdir(exist_ok=True)
    return MONAILabelClient(address, str(folder), client_id=name)


@pytest.mark.slow
def test_an_annotator_works_through_a_case(annotated: tuple[str, PhantomProject], tmp_path: Path) -> None:
    address, made = annotated
    ann, bob = client(address, tmp_path, "ann"), client(address, tmp_path, "bob")

    # Connect
    assert not ann.auth_enabled()
    info = ann.info()
    assert info["labels"] == ["right_lung", "left_lung"]
    assert list(info["models"]) == ["unet", "threshold"]
    assert info["datastore"]["total"] == 3
    assert info["datastore"]["completed"] == 0
    assert "config" not in info
    assert ann.train_status(check_if_running=True) is False

    # Next Sample
    sample = ann.next_sample("random", {})
    case_id = sample["id"]
    others = {bob.next_sample("random", {})["id"], bob.next_sample("random", {})["id"]}
    assert others == set(made.phantoms) - {case_id}

    # The image, as Slicer's SampleData downloads it
    with urllib.request.urlopen(f"{address}/datastore/image?image={case_id}") as response:
        image_file = tmp_path / sample["name"]
        image_file.write_bytes(response.read())
    algorithm, digest = sample["checksum"].split(":")
    assert algorithm == "SHA256"
    assert hashlib.sha256(image_file.read_bytes()).hexdigest() == digest
    truth = made.phantoms[case_id]
    image = read_ct(image_file)
    np.testing.assert_array_equal(image.array, truth.image.array)

    # Run, twice: the second answer is the stored mask
    asked = {"result_extension": ".nrrd", "result_dtype": "uint8"}
    first_file, params = ann.infer("threshold", case_id, dict(asked))
    assert params["label_names"] == {"right_lung": 1, "left_lung": 2}
    first = read_mask(Path(first_file))
    assert first_file.endswith(".nrrd")
    assert first.on_grid_of(image).array.shape == image.array.shape
    for value in (1, 2):
        ours, theirs = first.array == value, truth.lungs.array == value
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.9
    second = read_mask(Path(ann.infer("threshold", case_id, dict(asked))[0]))
    np.testing.assert_array_equal(first.array, second.array)

    # Submit the corrected mask; Slicer numbered the segments in the order of its scene
    swapped = np.array([0, 2, 1], dtype=np.uint8)[truth.lungs.array]
    label_file = tmp_path / "label.nii.gz"
    write_mask(image.with_array(swapped), label_file)
    ann.save_label(case_id, str(label_file), tag="", params=dict(SWAPPED))
    assert ann.info()["datastore"]["completed"] == 1
    assert ann.datastore()["objects"][case_id]["labels"]["final"]["info"]["label_names"] == [
        "right_lung",
        "left_lung",
    ]

    # It reads back identical, numbered our way, and so does the preliminary mask
    back = Path(ann.download_label(case_id, "final"))
    np.testing.assert_array_equal(read_mask(back).array, truth.lungs.array)
    np.testing.assert_array_equal(nib.load(back).affine, nib.load(image_file).affine)
    np.testing.assert_array_equal(read_mask(Path(ann.download_label(case_id, "original"))).array, first.array)

    # Next Sample: bob holds the other two, the first is finished
    assert ann.next_sample("random", {}) == {}
    assert bob.next_sample("random", {})["id"] in others

    registry = made.project.registry()
    kinds = [label.kind for label in registry.labels(case_id)]
    registry.close()
    assert kinds == [Kind.PRELIMINARY, Kind.SUBMITTED]


@pytest.mark.slow
def test_bad_requests_are_refused_in_one_line_and_the_server_goes_on(
    annotated: tuple[str, PhantomProject], tmp_path: Path
) -> None:
    address, made = annotated
    truth = made.phantoms["0001"]
    before = sorted(path for path in tmp_path.rglob("*") if made.project.folder not in path.parents)

    cropped = tmp_path / "cropped.nii.gz"
    z = truth.lungs.array.shape[0]
    write_mask(type(truth.lungs)(truth.lungs.array[: z - 1], truth.lungs.geometry), cropped)
    seven = tmp_path / "seven.nii.gz"
    write_mask(truth.lungs.with_array(np.where(truth.lungs.array == 2, 7, truth.lungs.array)), seven)
    swapped = tmp_path / "swapped.nii.gz"
    write_mask(truth.lungs.with_array(np.array([0, 2, 1], np.uint8)[truth.lungs.array]), swapped)
    text = tmp_path / "text.nii.gz"
    text.write_text("not an image")
    empty = tmp_path / "empty.nii.gz"
    empty.touch()
    before = sorted([*before, cropped, seven, swapped, text, empty])

    def put(path: Path, image: str = "0001", params: str = "{}") -> requests.Response:
        with open(path, "rb") as file:
            return requests.put(
                f"{address}/datastore/label",
                params={"image": image},
                data={"params": params},
                files={"label": (path.name, file)},
                timeout=60,
            )

    def get(path: str, **params: str) -> requests.Response:
        return requests.get(f"{address}{path}", params=params, timeout=60)

    traversal = "../../etc/passwd"
    for response, expected in (
        (put(cropped), "does not match image"),
        (put(seven), "label value 7 is unknown"),
        (put(swapped), "segments swapped"),
        (put(text), "cannot be read as NIfTI"),
        (put(empty), "empty file"),
        (put(swapped, params='{"label_info": [{"name": "spleen"}]}'), "unknown segment 'spleen'"),
        (put(swapped, image=traversal), "bad image id"),
        (put(swapped, image="9999"), "no case '9999'"),
        (get("/datastore/image", image=traversal), "bad image id"),
        (get("/datastore/image", image="/etc/passwd"), "bad image id"),
        (get("/datastore/label", label=traversal, tag="final"), "bad image id"),
        (get("/datastore/label", label="0001", tag=traversal), "unknown tag"),
        (requests.post(f"{address}/infer/threshold?image=/etc/passwd", timeout=60), "bad image id"),
        (requests.post(f"{address}/infer/nosuch?image=0001", timeout=60), "no model 'nosuch'"),
        (requests.post(f"{address}/activelearning/nosuch", json={}, timeout=60), "no strategy 'nosuch'"),
    ):
        assert 400 <= response.status_code < 500, response.text
        assert expected in response.json()["detail"]
        assert "\n" not in response.json()["detail"]

    assert client(address, tmp_path, "ann").info()["datastore"]["completed"] == 0
    after = sorted(path for path in tmp_path.rglob("*") if made.project.folder not in path.parents)
    assert [path for path in after if path not in before and path.name != "ann"] == []
    kept = list((made.project.labels / "0001" / "refused").iterdir())
    assert len(kept) == 6  # every refused upload for a case that exists
    with pytest.raises(MONAILabelClientException):
        client(address, tmp_path, "ann").save_label("0001", str(seven))


@pytest.mark.slow
def test_an_image_that_is_not_in_the_project_is_segmented_in_a_session(
    annotated: tuple[str, PhantomProject], server_kind: str, tmp_path: Path
) -> None:
    address, made = annotated
    foreign = chest_phantom(seed=99)
    path = tmp_path / "foreign.nii.gz"
    write_nifti(foreign.image, path)
    ann = client(address, tmp_path, "ann")
    session_id = ann.create_session(str(path))["session_id"]
    result, _ = ann.infer("threshold", "", {"result_extension": ".nii.gz"}, session_id=session_id)
    assert read_mask(Path(result)).on_grid_of(foreign.image).array.any()
    if server_kind == "ours":
        assert "path" not in ann.get_session(session_id)
    ann.remove_session(session_id)
    with pytest.raises(MONAILabelClientException):
        ann.get_session(session_id)


@pytest.mark.slow
def test_info_answers_while_another_client_runs_inference(
    make_project: Callable[..., PhantomProject], tmp_path: Path
) -> None:
    made = make_project(1, shape=(150, 320, 320), spacing_mm=(2.0, 1.2, 1.2))
    port = free_port()
    with live_server(our_server(made.project, port), port, tmp_path / "server.log") as server:
        ann, bob = client(server.address, tmp_path, "ann"), client(server.address, tmp_path, "bob")
        done = threading.Event()

        def run() -> None:
            ann.infer("threshold", "0001", {"result_extension": ".nrrd"})
            done.set()

        thread = threading.Thread(target=run)
        thread.start()
        answered_meanwhile = 0
        while not done.is_set():
            assert bob.info()["datastore"]["total"] == 1
            answered_meanwhile += not done.is_set()
        thread.join()
    assert answered_meanwhile >= 5  # how fast: benchmarks/responsiveness.py
