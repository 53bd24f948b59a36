"""The ASGI app in-process: pages, previews and what the protocol tests do not reach."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, PhantomProject
from fastapi.testclient import TestClient
from PIL import Image

from datastore.image_files import write_mask
from datastore.phantom import Phantom
from lungapp.app import LungApp
from lungapp.ingest import ingest
from lungapp.server import create_app


@pytest.fixture
def served(make_project: Callable[..., PhantomProject]) -> Iterator[tuple[TestClient, PhantomProject]]:
    made = make_project(2)
    app = LungApp(str(REPOSITORY / "lungapp"), str(made.project.folder), {})
    with TestClient(create_app(app), base_url="http://127.0.0.1") as client:
        yield client, made


def test_the_first_page_tells_a_newcomer_what_this_is(served: tuple[TestClient, PhantomProject]) -> None:
    client, made = served
    page = client.get("/").text
    for words in ("3D Slicer", "http://127.0.0.1", "0001", "0002", "Next Sample", "Submit Label"):
        assert words in page
    assert "https://" not in page  # nothing comes from elsewhere
    assert client.get("/?status=submitted").text.count('class="case"') == 0
    assert client.get("/?page=99").status_code == 200
    assert client.get("/?status=nonsense").status_code == 422


def test_a_preview_shows_the_mask_once_there_is_one(served: tuple[TestClient, PhantomProject]) -> None:
    client, _ = served

    def colours() -> int:
        answer = client.get("/cases/0001/preview.png")
        assert answer.headers["content-type"] == "image/png"
        pixels = np.asarray(Image.open(io.BytesIO(answer.content))).astype(int)
        return int((pixels.max(axis=2) - pixels.min(axis=2) > 60).sum())

    assert colours() == 0
    assert client.post("/infer/threshold?image=0001").status_code == 200
    assert colours() > 200
    assert client.get("/cases/9999/preview.png").status_code == 404


def test_an_image_that_went_away_is_a_404_and_the_page_still_comes(served: tuple[TestClient, PhantomProject]) -> None:
    client, made = served
    registry = made.project.registry()
    registry.case("0001").source.path.unlink()
    registry.close()
    assert client.get("/datastore/image?image=0001").status_code == 404
    assert client.get("/cases/0001/preview.png").status_code == 404
    assert client.post("/infer/threshold?image=0001").status_code == 404
    assert client.get("/").status_code == 200


def test_a_dicom_series_goes_out_as_one_file_without_the_patient(
    served: tuple[TestClient, PhantomProject], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from dicom_series import write_series

    from datastore.image_files import read_ct

    client, made = served
    folder = tmp_path_factory.mktemp("dicom")
    hu = np.random.default_rng(0).integers(-1024, 500, (6, 20, 30)).astype(np.int16)
    write_series(folder, hu)
    registry = made.project.registry()
    ingest(registry, [folder], lambda: None)
    registry.close()
    info = client.get("/datastore/image/info?image=0003").json()
    assert info["name"].startswith("0003-") and info["name"].endswith(".nii.gz")
    assert "id" not in info
    answer = client.get("/datastore/image?image=0003")
    assert f"SHA256:{answer.headers['x-checksum-sha256']}" == info["checksum"]
    path = folder / info["name"]
    path.write_bytes(answer.content)
    np.testing.assert_array_equal(read_ct(path).array, hu)
    assert b"Doeman" not in answer.content
    head = client.head(f"/datastore/image?image=0003&check_sum={info['checksum']}")
    assert head.status_code == 200
    assert client.head("/datastore/image?image=0003&check_sum=SHA256:00").status_code == 404
    # emptying the cache loses nothing, and the conversion is the same file again
    for cached in (made.project.cache / "images").iterdir():
        cached.unlink()
    assert client.get("/datastore/image/info?image=0003").json() == info


def test_names_of_other_hosts_get_nothing(served: tuple[TestClient, PhantomProject]) -> None:
    client, _ = served
    assert client.get("/info/", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("path", ["/reload", "/proxy/dicom/qido", "/datastore/dataset", "/logs/", "/model/threshold"])
def test_routes_that_were_not_vetted_do_not_exist(served: tuple[TestClient, PhantomProject], path: str) -> None:
    client, _ = served
    assert client.get(path).status_code == 404
    assert client.post(path).status_code == 404


def test_images_can_be_neither_added_nor_removed(served: tuple[TestClient, PhantomProject]) -> None:
    client, made = served
    assert client.put("/datastore/?image=../x", files={"file": ("x.nii.gz", b"x")}).status_code in (404, 405)
    assert client.put("/datastore/image?image=x", files={"file": ("x.nii.gz", b"x")}).status_code == 405
    assert client.delete("/datastore/image?id=0001").status_code == 405
    assert client.delete("/datastore/label?id=0001&tag=final").status_code == 405


@pytest.mark.parametrize("params", ["[1]", "{", '"text"'])
def test_params_that_are_no_object_are_refused(served: tuple[TestClient, PhantomProject], params: str) -> None:
    client, _ = served
    answer = client.post("/infer/threshold?image=0001", data={"params": params})
    assert answer.status_code == 400
    assert "expected a JSON object" in answer.json()["detail"]


@pytest.mark.parametrize(("extension", "status"), [(".nii.gz", 200), (".seg.nrrd", 200), (".mha", 200), (".exe", 400)])
def test_a_mask_comes_in_the_format_asked_for(
    served: tuple[TestClient, PhantomProject], extension: str, status: int
) -> None:
    client, made = served
    answer = client.post(
        "/infer/threshold?image=0001&output=image", data={"params": f'{{"result_extension": "{extension}"}}'}
    )
    assert answer.status_code == status
    assert list((made.project.cache / "results").iterdir()) == [] if status == 200 else True


def test_an_image_is_named_by_its_id_never_by_a_path(served: tuple[TestClient, PhantomProject]) -> None:
    client, made = served
    registry = made.project.registry()
    path = registry.case("0001").source.path
    registry.close()
    assert path.exists()
    for answer in (
        client.post("/infer/threshold", params={"image": str(path)}),
        client.post("/infer/threshold?image=0001x"),
        client.post("/infer/threshold", data={"params": f'{{"image": "{path}"}}'}),
        client.get("/datastore/image", params={"image": str(path)}),
    ):
        assert answer.status_code == 400
        assert "bad image id" in answer.json()["detail"]


def test_a_case_whose_image_is_damaged_is_passed_over(served: tuple[TestClient, PhantomProject]) -> None:
    client, made = served
    registry = made.project.registry()
    registry.case("0001").source.path.write_bytes(b"torn")
    for _ in range(2):
        assert client.post("/activelearning/random", json={"client_id": "ann"}).json()["id"] == "0002"
    assert client.post("/activelearning/random", json={"client_id": "bob"}).json() == {}
    assert registry.case("0001").leased_by is None
    registry.close()


def test_another_patients_image_under_the_same_name_is_never_served(
    served: tuple[TestClient, PhantomProject], phantom: Phantom
) -> None:
    from datastore.nifti import write_nifti

    client, made = served
    registry = made.project.registry()
    path = registry.case("0001").source.path
    other = made.phantoms["0002"].image
    assert other.array.shape == made.phantoms["0001"].image.array.shape
    write_nifti(other, path)
    for answer in (
        client.get("/datastore/image?image=0001"),
        client.get("/cases/0001/preview.png"),
        client.post("/infer/threshold?image=0001"),
    ):
        assert answer.status_code == 404
        assert "has changed since it was registered" in answer.json()["detail"]
    assert client.post("/activelearning/random", json={"client_id": "ann"}).json()["id"] == "0002"
    ingest(registry, [path], lambda: None)  # nobody has worked on it: the manager may mean it
    assert client.get("/datastore/image?image=0001").status_code == 200
    registry.close()


def test_a_mask_whose_file_is_gone_is_said_to_be_gone_or_made_again(served: tuple[TestClient, PhantomProject]) -> None:
    client, made = served
    assert client.post("/infer/threshold?image=0001").status_code == 200
    registry = made.project.registry()
    (label,) = registry.labels("0001")
    label.path.unlink()
    answer = client.get("/datastore/label?label=0001&tag=original")
    assert answer.status_code == 404
    assert str(made.project.folder) not in answer.text
    assert client.get(f"/datastore/label?label={label.id}&tag=final").status_code == 404
    assert client.post("/infer/threshold?image=0001").status_code == 200
    assert client.get("/datastore/label?label=0001&tag=original").status_code == 200
    assert len(registry.labels("0001")) == 2
    registry.close()


def test_no_answer_names_a_folder_of_the_server(served: tuple[TestClient, PhantomProject]) -> None:
    client, made = served
    registry = made.project.registry()
    scans = registry.case("0001").source.path.parent
    registry.case("0001").source.path.write_bytes(b"torn")
    registry.case("0002").source.path.unlink()
    registry.close()
    bad = {"file": ("x.nii.gz", b"torn")}
    session = client.put("/session/", files={"files": ("x.nii.gz", b"torn")}).json()["session_id"]
    for answer in (
        client.get("/datastore/image?image=0001"),
        client.get("/datastore/image/info?image=0002"),
        client.get("/cases/0001/preview.png"),
        client.post("/infer/threshold?image=0001"),
        client.post("/infer/threshold?image=0002"),
        client.post("/infer/threshold", files=bad),
        client.post("/infer/threshold", files={"file": ("x.mhd", b"ElementDataFile = x.raw")}),
        client.post(f"/infer/threshold?session_id={session}"),
        client.put("/datastore/label?image=0001", files={"label": ("x.nii.gz", b"torn")}),
        client.put("/datastore/label?image=0001", files={"label": ("x.mhd", b"ElementDataFile = %s%n")}),
    ):
        assert 400 <= answer.status_code < 500, answer.text
        for folder in (scans, made.project.folder, made.project.cache):
            assert str(folder) not in answer.text


@pytest.mark.parametrize("params", ["[" * 100_000, "{", '{"label_info": "x"}', '{"label_info": [1]}'])
def test_a_mask_with_bad_params_is_kept(served: tuple[TestClient, PhantomProject], params: str) -> None:
    client, made = served
    answer = client.put(
        "/datastore/label?image=0001", files={"label": ("m.nii.gz", b"my work")}, data={"params": params}
    )
    assert answer.status_code == 400
    (kept,) = (made.project.labels / "0001" / "refused").iterdir()
    assert kept.read_bytes() == b"my work"
    assert kept.name in answer.json()["detail"]


def test_a_mask_with_another_tag_is_kept(served: tuple[TestClient, PhantomProject]) -> None:
    client, made = served
    answer = client.put("/datastore/label?image=0001&tag=original", files={"label": ("m.nii.gz", b"my work")})
    assert answer.status_code == 400
    assert len(list((made.project.labels / "0001" / "refused").iterdir())) == 1


def test_a_lung_that_is_not_there_is_not_named(served: tuple[TestClient, PhantomProject]) -> None:
    from datastore.records import Kind, NewLabel
    from infers.models import THRESHOLD_VERSION

    client, made = served
    lungs = made.phantoms["0001"].lungs
    left = lungs.with_array(np.where(lungs.array == 2, 2, 0).astype(np.uint8))
    registry = made.project.registry()
    registry.add_label("0001", left, NewLabel(Kind.PRELIMINARY, "lungapp", "test", model=THRESHOLD_VERSION))
    registry.close()
    params = client.post("/infer/threshold?image=0001&output=json").json()
    assert params["label_names"] == {"left_lung": 2}


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_mask_has_the_grid_of_its_image_bit_for_bit(
    served: tuple[TestClient, PhantomProject], tmp_path: Path, suffix: str
) -> None:
    import SimpleITK as sitk

    client, made = served
    image = sitk.GetImageFromArray(made.phantoms["0001"].image.array)
    image.SetSpacing((2.9999, 3.1, 5 / 3))
    image.SetOrigin((-101.123456789, 33.3, -700.1))
    image.SetDirection((0.9396926, -0.3420201, 0.0, 0.3420201, 0.9396926, 0.0, 0.0, 0.0, 1.0))
    path, target = tmp_path / f"scan{suffix}", tmp_path / f"mask{suffix}"
    sitk.WriteImage(image, str(path))
    registry = made.project.registry()
    ingest(registry, [path], lambda: None)
    registry.close()
    answer = client.post(
        "/infer/threshold?image=0003&output=image", data={"params": f'{{"result_extension": "{suffix}"}}'}
    )
    target.write_bytes(answer.content)
    ours, theirs = sitk.ReadImage(str(target)), sitk.ReadImage(str(path))
    assert ours.GetOrigin() == theirs.GetOrigin()
    assert ours.GetSpacing() == theirs.GetSpacing()
    assert ours.GetDirection() == theirs.GetDirection()


def test_a_label_is_found_by_its_own_id_too(served: tuple[TestClient, PhantomProject]) -> None:
    client, made = served
    path = made.project.cache / "mask.nii.gz"
    write_mask(made.phantoms["0001"].lungs, path)
    ids = []
    for _ in range(2):
        with open(path, "rb") as file:
            ids.append(client.put("/datastore/label?image=0001", files={"label": ("m.nii.gz", file)}).json()["label"])
    assert client.get(f"/datastore/label/info?label={ids[0]}&tag=final").json()["number"] == 1
    assert client.get("/datastore/label/info?label=0001&tag=final").json()["label_id"] == ids[1]
    assert client.get("/datastore/label?label=0002&tag=final").status_code == 404
    assert client.get("/datastore/?output=train").json() == [{"image": "0001", "label": ids[1]}]
    assert client.get("/datastore/?output=everything").status_code == 400
