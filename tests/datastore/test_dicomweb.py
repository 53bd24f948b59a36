from __future__ import annotations

import itertools
import json
import logging
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import orthanc
import pydicom
import pytest
from conftest import free_port
from dicom_series import write_series
from orthanc import PASSWORD, USER, Orthanc
from pydicom.uid import RLELossless, generate_uid

from datastore import dicomweb_service
from datastore.dicom import find_series, read_folder
from datastore.dicomweb import RemoteSeries, find_remote_series
from datastore.dicomweb_access import Credentials, checked_uid, checked_url
from datastore.dicomweb_fetch import fetch_series
from datastore.dicomweb_service import DicomwebError, UnreachableError
from datastore.records import NewCase, NewExclusion

ACCOUNT = Credentials(USER, PASSWORD)
SECRETS = ("secret", "Janeway", "Doeman")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb_service, "WAITS_S", (0.0, 0.0))


def key_of(patient_id: str) -> str:
    return "key-" + patient_id[-1]


def find(url: str, **how: Any) -> list[RemoteSeries]:
    return list(find_remote_series(url, patient_of=key_of, **how))


def hounsfield(slices: int = 6, rows: int = 16, columns: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 500, (slices, rows, columns)).astype(np.int16)


class Pacs:
    """An Orthanc with two patients, three studies and seven series, and the folder of each series by its name."""

    def __init__(self, server: Orthanc, top: Path) -> None:
        self.server, self.url = server, server.url
        self.folders: dict[str, Path] = {}
        self.uids: dict[str, str] = {}
        self.studies: dict[str, str] = {}
        first, second, third = generate_uid(), generate_uid(), generate_uid()
        self._add(top, "thorax", first, PatientID="secret-4.w1")
        self._add(top, "sharp", first, PatientID="secret-4.w1", SeriesDescription="Lunge  1.0 B70f")
        self._add(top, "localizer", first, PatientID="secret-4.w1", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        self._add(top, "gap", second, PatientID="secret-4.w1", skip=(3,))
        self._add(top, "oblique", third, PatientID="secret-4712", orientation=(0.8, 0.6, 0, -0.6, 0.8, 0))
        self._add(top, "mr", third, PatientID="secret-4712", Modality="MR")
        self._add(top, "nobody", third, PatientID="ANONYMOUS", slices=4)

    def _add(self, top: Path, name: str, study: str, slices: int = 6, **how: Any) -> None:
        self.uids[name], self.studies[name], self.folders[name] = generate_uid(), study, top / name
        hu = hounsfield(slices, seed=len(self.uids))
        self.server.upload(write_series(top / name, hu, series_uid=self.uids[name], StudyInstanceUID=study, **how))

    def named(self, found: list[RemoteSeries]) -> dict[str, RemoteSeries]:
        names = {uid: name for name, uid in self.uids.items()}
        return {names[item.record.source.series_uid or ""]: item for item in found}


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    with orthanc.orthanc() as server:
        yield Pacs(server, tmp_path_factory.mktemp("pacs"))


def test_the_ct_series_of_an_orthanc_are_found_with_the_grid_that_their_files_give(pacs: Pacs) -> None:
    steps: list[None] = []
    found = pacs.named(find(pacs.url, credentials=ACCOUNT, progress=lambda: steps.append(None)))
    assert set(found) == {"thorax", "sharp", "localizer", "gap", "oblique", "nobody"}
    assert len(steps) == 6
    for name in ("thorax", "sharp", "oblique", "nobody"):
        record = found[name].record
        ((series,), _) = find_series(pacs.folders[name])
        assert isinstance(record, NewCase) and not found[name].damaged
        assert record.shape == series.shape
        assert record.geometry.corner_distance_mm(series.geometry, series.shape) < 1e-9
        assert (record.source.url, record.source.path, record.source.files) == (pacs.url, Path(), ())
        assert record.study_uid == pacs.studies[name]
        assert found[name].image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert found["sharp"].record.description == "Lunge 1.0 B70f"
    patients = {name: found[name].record.patient for name in found}
    assert patients == dict.fromkeys(["thorax", "sharp", "localizer", "gap"], "key-1") | {
        "oblique": "key-2",
        "nobody": "",
    }


def test_what_is_no_volume_is_given_with_the_reason(pacs: Pacs) -> None:
    found = pacs.named(find(pacs.url, credentials=ACCOUNT, modality=None))
    localizer, gap, mr = (found[name].record for name in ("localizer", "gap", "mr"))
    assert isinstance(localizer, NewExclusion) and isinstance(gap, NewExclusion) and isinstance(mr, NewExclusion)
    assert (localizer.reason, found["localizer"].damaged, localizer.slices) == ("localizer", False, 6)
    assert found["localizer"].image_type == ("ORIGINAL", "PRIMARY", "LOCALIZER")
    assert gap.reason.startswith("1 slice missing at slice ")
    assert (found["gap"].damaged, gap.slices, gap.study_uid) == (True, 5, pacs.studies["gap"])
    assert (mr.reason, found["mr"].damaged, mr.patient) == ("modality MR, expected CT", False, "key-2")


def test_neither_records_nor_messages_name_a_patient(pacs: Pacs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    said = repr(find(pacs.url, credentials=ACCOUNT, modality=None)) + caplog.text
    assert "key-1" in said
    assert not [secret for secret in SECRETS if secret in said]


@pytest.mark.parametrize("page", [1, 2, 3, 6, 100])
def test_pages_of_any_size_give_every_series_once(pacs: Pacs, page: int) -> None:
    uids = [item.record.source.series_uid for item in find(pacs.url, credentials=ACCOUNT, page=page)]
    assert sorted(map(str, uids)) == sorted(uid for name, uid in pacs.uids.items() if name != "mr")


def test_filters_narrow_the_search_and_known_series_are_passed_over(pacs: Pacs) -> None:
    one_study = find(pacs.url, credentials=ACCOUNT, filters={"StudyInstanceUID": pacs.studies["gap"]})
    assert set(pacs.named(one_study)) == {"gap"}
    rest = find(pacs.url, credentials=ACCOUNT, known=lambda uid, _: uid in (pacs.uids["gap"], pacs.uids["thorax"]))
    assert set(pacs.named(rest)) == {"sharp", "localizer", "oblique", "nobody"}
    assert find(pacs.url, credentials=ACCOUNT, modality="PT") == []


@pytest.mark.parametrize("credentials", [None, Credentials(USER, "wrong-word"), Credentials(token="wrong-word")])
def test_wrong_credentials_are_refused_in_words(pacs: Pacs, credentials: Credentials | None, tmp_path: Path) -> None:
    with pytest.raises(DicomwebError, match=r"127\.0\.0\.1.* \(HTTP 401\): set LUNGAPP_DICOMWEB_USER") as refused:
        find(pacs.url, credentials=credentials)
    assert "wrong-word" not in str(refused.value)
    with pytest.raises(DicomwebError, match="HTTP 401"):
        fetch_series(pacs.url, pacs.studies["gap"], pacs.uids["gap"], tmp_path / "s", credentials)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["/nothing", "", "/app"])
def test_another_part_of_the_server_is_told_from_a_dicomweb_service(pacs: Pacs, place: str) -> None:
    with pytest.raises(DicomwebError, match="no DICOMweb"):
        find(pacs.server.address + place, credentials=ACCOUNT)


@pytest.mark.parametrize("name", ["thorax", "oblique"])
def test_a_fetched_series_has_the_very_voxels_of_its_files(pacs: Pacs, name: str, tmp_path: Path) -> None:
    folder, steps = tmp_path / "cache" / "0001", itertools.count()
    count = fetch_series(
        pacs.url, pacs.studies[name], pacs.uids[name], folder, ACCOUNT, progress=lambda: next(steps) and None
    )
    assert count == next(steps) == 6
    assert sorted(path.name for path in folder.iterdir()) == [f"{number:05d}.dcm" for number in range(1, 7)]
    fetched, original = read_folder(folder), read_folder(pacs.folders[name])
    np.testing.assert_array_equal(fetched.array, original.array)
    assert fetched.geometry == original.geometry
    assert [path.name for path in folder.parent.iterdir()] == ["0001"]


def test_a_folder_that_is_there_stays_as_it_is(pacs: Pacs, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(FileExistsError, match="left as it is"):
        fetch_series(pacs.url, pacs.studies["thorax"], pacs.uids["thorax"], tmp_path, ACCOUNT)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_two_that_fetch_one_series_at_once_leave_one_whole_folder(pacs: Pacs, tmp_path: Path) -> None:
    folder, place = tmp_path / "s", (pacs.studies["thorax"], pacs.uids["thorax"])

    def other_is_first() -> None:
        if not folder.exists():
            fetch_series(pacs.url, *place, folder, ACCOUNT)

    with pytest.raises(FileExistsError):
        fetch_series(pacs.url, *place, folder, ACCOUNT, progress=other_is_first)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert len(list(folder.iterdir())) == 6


def test_a_series_that_is_not_there_is_an_error(pacs: Pacs, tmp_path: Path) -> None:
    with pytest.raises(DicomwebError, match="no such series"):
        fetch_series(pacs.url, "1.2.3", "4.5.6", tmp_path / "s", ACCOUNT)
    assert list(tmp_path.iterdir()) == []


def test_a_compressed_series_comes_as_it_is_stored(pacs: Pacs, tmp_path: Path) -> None:
    uid, study = generate_uid(), generate_uid()
    files = write_series(tmp_path / "files", hounsfield(), series_uid=uid, StudyInstanceUID=study, Modality="OT")
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.compress(RLELossless)
        dataset.save_as(file)
    pacs.server.upload(files)
    fetch_series(pacs.url, study, uid, tmp_path / "s", ACCOUNT)
    fetched = {pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in (tmp_path / "s").iterdir()}
    assert fetched == {RLELossless}


def test_fetching_holds_no_series_in_memory(pacs: Pacs, tmp_path: Path) -> None:
    uid, study = generate_uid(), generate_uid()
    hu = hounsfield(24, 512, 512)  # 12.6 MB
    files = write_series(tmp_path / "files", hu, series_uid=uid, StudyInstanceUID=study, Modality="OT")
    pacs.server.upload(files)
    tracemalloc.start()
    try:
        fetch_series(pacs.url, study, uid, tmp_path / "s", ACCOUNT)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 5e6


def test_a_service_that_dies_in_the_middle_of_a_series_leaves_nothing(tmp_path: Path) -> None:
    with orthanc.orthanc() as server:
        uid, study = generate_uid(), generate_uid()
        hu = hounsfield(48, 512, 512)  # 25 MB, more than what lies in the buffers of a connection
        server.upload(write_series(tmp_path / "files", hu, series_uid=uid, StudyInstanceUID=study))
        came: list[list[str]] = []

        def die() -> None:
            came.append([path.name for path in (tmp_path / "cache").iterdir()])
            server.kill()

        with pytest.raises(UnreachableError, match=r"cannot be reached \(Connection refused\)"):
            fetch_series(server.url, study, uid, tmp_path / "cache" / "s", ACCOUNT, progress=die)
        assert 0 < len(came) < 48
        assert all(name.startswith(".writing-") for names in came for name in names)
        assert list((tmp_path / "cache").iterdir()) == []


def test_a_service_that_goes_away_ends_the_search_with_one_error() -> None:
    with pytest.raises(UnreachableError, match=r"^http://127\.0\.0\.1:\d+/pacs: cannot be reached \(Conn.*\)$"):
        find(f"http://127.0.0.1:{free_port()}/pacs", filters={"PatientID": "secret-4.w1"})


def test_a_service_that_dies_during_the_search_is_no_damaged_series(tmp_path: Path) -> None:
    with orthanc.orthanc() as server:
        for _ in range(3):
            server.upload(write_series(tmp_path / generate_uid(), hounsfield(2)))
        found = find_remote_series(server.url, patient_of=key_of, credentials=ACCOUNT)
        assert isinstance(next(found).record, NewCase)
        server.kill()
        with pytest.raises(UnreachableError, match="cannot be reached"):
            next(found)


# A service of our own, for what Orthanc does not do.


Answer = tuple[int, dict[str, str], bytes]
Asked = Callable[[str, dict[str, str], Any], Answer]


def dicom_json(rows: object, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/dicom+json"}, json.dumps(rows).encode()


def element(*values: object) -> dict[str, object]:
    return {"vr": "UN", "Value": list(values)}


def row(series: str, study: str = "1.2") -> dict[str, object]:
    return {"0020000D": element(study), "0020000E": element(series), "00080060": element("CT")}


def image(series: str, number: int, **more: object) -> dict[str, object]:
    def typed(vr: str, *values: object) -> dict[str, object]:
        return {"vr": vr, "Value": list(values)}

    return {
        "00080008": typed("CS", "ORIGINAL", "PRIMARY"),
        "00080018": typed("UI", f"{series}.{number}"),
        "00080060": typed("CS", "CT"),
        "00100010": typed("PN", {"Alphabetic": "Doeman^Janeway"}),
        "00100020": typed("LO", "secret-4.w1"),
        "0020000D": typed("UI", "1.2"),
        "0020000E": typed("UI", series),
        "00200013": typed("IS", number),
        "00200032": typed("DS", 0, 0, 2.5 * number),
        "00200037": typed("DS", 1, 0, 0, 0, 1, 0),
        "00280010": typed("US", 16),
        "00280011": typed("US", 12),
        "00280030": typed("DS", 0.8, 0.7),
        "00281052": typed("DS", -1024),
        "00281053": typed("DS", 1),
        **more,
    }


def answer_of_metadata(path: str) -> Answer:
    series = path.split("/")[-2]
    return dicom_json([image(series, number) for number in range(4)])


@contextmanager
def service(answer: Asked) -> Iterator[str]:
    """A DICOMweb service that answers as a function of path, query and headers says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: ",".join(values) for name, values in parse_qs(parts.query).items()}
            status, headers, body = answer(parts.path.removeprefix("/pacs/"), query, self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/pacs"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


UIDS = [f"1.3.{number}" for number in range(7)]
ROWS = [row(uid) for uid in UIDS]


def everything(query: dict[str, str]) -> list[Any]:
    return ROWS


def capped(query: dict[str, str]) -> list[Any]:
    return ROWS[int(query["offset"]) :][: min(2, int(query["limit"]))]


def limit_ignored(query: dict[str, str]) -> list[Any]:
    return ROWS[int(query["offset"]) :]


def offset_ignored(query: dict[str, str]) -> list[Any]:
    return ROWS[: int(query.get("limit", 100))]


def overlapping(query: dict[str, str]) -> list[Any]:
    start = max(0, int(query["offset"]) - 1)
    return ROWS[start:][: int(query["limit"])]


@pytest.mark.parametrize("give", [everything, capped, limit_ignored, offset_ignored, overlapping])
@pytest.mark.parametrize("page", [2, 3, 7, 100])
@pytest.mark.parametrize("offers_series", [True, False])
def test_a_service_that_pages_in_its_own_way_loses_no_series_and_ends(
    give: Callable[[dict[str, str]], list[Any]], page: int, offers_series: bool
) -> None:
    asked: list[str] = []

    def answer(path: str, query: dict[str, str], _: Any) -> Answer:
        asked.append(path)
        if path == "series" and not offers_series:
            return 501, {}, b""
        if path == "studies":
            return dicom_json([{"0020000D": element("1.2")}])
        return answer_of_metadata(path) if path.endswith("/metadata") else dicom_json(give(query))

    with service(answer) as url:
        found = find(url, page=page)
    assert sorted(str(item.record.source.series_uid) for item in found) == UIDS
    assert len(asked) < 40


def test_the_same_page_for_ever_ends_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    def answer(path: str, query: dict[str, str], _: Any) -> Answer:
        return answer_of_metadata(path) if path.endswith("/metadata") else dicom_json(ROWS[:3])

    with service(answer) as url:
        assert len(find(url, page=3)) == 3
    assert "more may be there" in caplog.text


def test_no_content_is_no_match() -> None:
    with service(lambda *_: (204, {}, b"")) as url:
        assert find(url) == []


NONSENSE = {
    "server error": (500, {}, b"Doeman^Janeway secret"),
    "html": (200, {"Content-Type": "text/html"}, b"<html>Doeman^Janeway</html>"),
    "other json": dicom_json({"Doeman^Janeway": 1}),
    "strings": dicom_json(["Doeman^Janeway"]),
    "deep": (200, {}, b"[" * 100_000),
    "nothing": (204, {}, b""),
    "empty objects": dicom_json([{}]),
    "numbers as values": dicom_json([dict.fromkeys(image("1.3.1", 0), 3)]),
    "values of another kind": dicom_json(
        [image("1.3.1", 0, **{"00280010": {"vr": "US", "Value": ["Doeman^Janeway"]}})]
    ),
    "an object as value": dicom_json([image("1.3.1", 0, **{"00280030": {"vr": "DS", "Value": [{"a": "Doeman"}]}})]),
    "two positions": dicom_json([image("1.3.1", 0, **{"00200032": {"vr": "DS", "Value": [1, 2]}})]),
    "not finite": dicom_json([image("1.3.1", 0, **{"00200032": {"vr": "DS", "Value": [1, 2, 1e999]}})]),
    "another series": dicom_json([image("1.3.2", 0)]),
    "two patients": dicom_json(
        [image("1.3.1", 0), image("1.3.1", 1, **{"00100020": {"vr": "LO", "Value": ["secret-4712"]}})]
    ),
    "cut short": (200, {"Content-Length": "5000"}, b"[{"),
    "overloaded": (503, {}, b""),
    "forbidden": (403, {}, b""),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_a_series_with_bad_metadata_is_reported_and_the_others_are_found(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(path: str, query: dict[str, str], _: Any) -> Answer:
        if path == "studies/1.2/series/1.3.1/metadata":
            return NONSENSE[what]
        if path.endswith("/metadata"):
            return answer_of_metadata(path)
        return dicom_json(ROWS[:3] if query.get("offset") == "0" else [])

    with service(answer) as url:
        found = find(url)
    assert [isinstance(item.record, NewCase) for item in found] == [True, False, True]
    bad = found[1]
    assert bad.damaged and isinstance(bad.record, NewExclusion)
    assert bad.record.reason and url not in bad.record.reason
    assert (bad.record.source.series_uid, bad.record.source.url) == ("1.3.1", url)
    assert not [secret for secret in SECRETS if secret in repr(found) + caplog.text]


def test_fewer_headers_than_images_are_no_whole_series() -> None:
    def answer(path: str, query: dict[str, str], _: Any) -> Answer:
        if path.endswith("/metadata"):
            return answer_of_metadata(path)
        return dicom_json([{**row("1.3.1"), "00201209": element(5)}] if query.get("offset") == "0" else [])

    with service(answer) as url:
        (found,) = find(url)
    assert isinstance(found.record, NewExclusion) and found.damaged
    assert found.record.reason == "expected metadata of 5 images, got 4"


def test_a_service_that_ignores_the_modality_gives_no_other_series() -> None:
    def answer(path: str, query: dict[str, str], _: Any) -> Answer:
        if path.endswith("/metadata"):
            return answer_of_metadata(path)
        rows = [row("1.3.1"), {**row("1.3.2"), "00080060": element("MR")}, {**row("1.3.3"), "00080060": {"vr": "CS"}}]
        return dicom_json(rows)

    with service(answer) as url:
        assert [item.record.source.series_uid for item in find(url)] == ["1.3.1", "1.3.3"]
        assert len(find(url, modality=None)) == 3


def test_names_that_are_no_uids_reach_no_address(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []
    bad = [row("../../instances"), row(".."), row("1.3.1/../x"), row(""), row("1.3.5", study="../x"), row("1.3.6")]

    def answer(path: str, query: dict[str, str], _: Any) -> Answer:
        asked.append(path)
        if path.endswith("/metadata"):
            return answer_of_metadata(path)
        return dicom_json(bad if query.get("offset") == "0" else [])

    with service(answer) as url:
        found = {item.record.source.series_uid: item.record for item in find(url)}
    assert set(found) == {"1.3.5", "1.3.6"}
    assert isinstance(found["1.3.6"], NewCase)
    assert isinstance(found["1.3.5"], NewExclusion) and "StudyInstanceUID" in found["1.3.5"].reason
    assert set(asked) == {"series", "studies/1.2/series/1.3.6/metadata"}
    assert caplog.text.count("without a valid SeriesInstanceUID") == 4


def test_a_study_that_cannot_be_listed_is_told_at_the_end() -> None:
    def answer(path: str, query: dict[str, str], _: Any) -> Answer:
        if path == "series":
            return 404, {}, b""
        if path == "studies":
            return dicom_json([{"0020000D": element(uid)} for uid in ("1.1", "1.2")])
        if path.startswith("studies/1.1"):
            return 500, {}, b""
        return answer_of_metadata(path) if path.endswith("/metadata") else dicom_json([row("1.3.1")])

    with service(answer) as url:
        found = find_remote_series(url, patient_of=key_of)
        assert next(found).record.source.series_uid == "1.3.1"
        with pytest.raises(DicomwebError, match="cannot list the series of 1 of 2 studies: answers HTTP 500"):
            next(found)


def test_a_connection_that_fails_once_is_tried_again() -> None:
    failures = iter([503, 503])

    def answer(path: str, query: dict[str, str], _: Any) -> Answer:
        status = next(failures, 200)
        return (status, {}, b"") if status != 200 else dicom_json([])

    with service(answer) as url:
        assert find(url) == []


def test_credentials_that_end_during_the_search_end_it() -> None:
    def answer(path: str, query: dict[str, str], _: Any) -> Answer:
        return (401, {}, b"") if path.endswith("/metadata") else dicom_json(ROWS)

    with service(answer) as url, pytest.raises(DicomwebError, match="HTTP 401"):
        find(url)


def test_an_answer_without_end_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb_service, "JSON_BYTES", 1 << 20)
    with (
        service(lambda *_: (200, {}, b" " * (3 << 20) + b"[]")) as url,
        pytest.raises(DicomwebError, match="more than 1 MiB of JSON"),
    ):
        find(url)


def test_a_redirect_to_another_host_is_not_followed() -> None:
    heard: list[str] = []

    def thief(path: str, query: dict[str, str], headers: Any) -> Answer:
        heard.append(path)
        return dicom_json([])

    with service(thief) as elsewhere:
        target = elsewhere.replace("://", "://user:hidden@") + "/series"
        with (
            service(lambda *_: (302, {"Location": target}, b"")) as url,
            pytest.raises(DicomwebError, match="redirects to http://127.0.0.1.*not followed") as refused,
        ):
            find(url, credentials=ACCOUNT)
    assert heard == []
    assert "hidden" not in str(refused.value)


def test_a_redirect_on_the_same_host_is_followed_but_not_in_a_circle() -> None:
    heard: list[tuple[str | None, dict[str, str]]] = []

    def answer(path: str, query: dict[str, str], headers: Any) -> Answer:
        if path != "series/":
            return 301, {"Location": f"/pacs/series/?limit={query['limit']}&offset=0"}, b""
        heard.append((headers.get("Authorization"), query))
        return dicom_json([])

    with service(answer) as url:
        assert find(url, credentials=Credentials(token="abc")) == []
    assert heard == [("Bearer abc", {"limit": "100", "offset": "0"})]
    with (
        service(lambda *_: (302, {"Location": "/pacs/series"}, b"")) as url,
        pytest.raises(DicomwebError, match="circle"),
    ):
        find(url)


def multipart(files: list[bytes]) -> bytes:
    parts = [b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files]
    return b"".join(parts) + b"--cut--\r\n"


TYPE = {"Content-Type": 'multipart/related; type="application/dicom"; boundary="cut"'}


@pytest.fixture
def files(tmp_path: Path) -> list[bytes]:
    """Four files of series 1.3.1."""
    paths = write_series(tmp_path / "files", hounsfield(4), series_uid="1.3.1", StudyInstanceUID="1.2")
    return [path.read_bytes() for path in paths]


def metadata_of(files: list[bytes]) -> Answer:
    headers = [pydicom.dcmread(pydicom.filebase.DicomBytesIO(file)) for file in files]
    return dicom_json([{"00080018": element(str(header.SOPInstanceUID))} for header in headers])


def fetch_from(answer: Answer, files: list[bytes], folder: Path) -> int:
    def give(path: str, query: dict[str, str], _: Any) -> Answer:
        return metadata_of(files) if path.endswith("/metadata") else answer

    with service(give) as url:
        return fetch_series(url, "1.2", "1.3.1", folder)


def test_a_whole_message_is_taken_byte_for_byte(files: list[bytes], tmp_path: Path) -> None:
    assert fetch_from((200, TYPE, multipart(files)), files, tmp_path / "s") == 4
    assert [path.read_bytes() for path in sorted((tmp_path / "s").iterdir())] == files


def test_chunks_of_any_size_give_the_same_bytes(
    files: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (1, 7, 64):
        monkeypatch.setattr("datastore.dicomweb_fetch.CHUNK_BYTES", size)
        fetch_from((200, TYPE, multipart(files)), files, tmp_path / str(size))
        assert [path.read_bytes() for path in sorted((tmp_path / str(size)).iterdir())] == files


def other_series(files: list[bytes]) -> bytes:
    return multipart([*files[:3], files[3].replace(b"1.3.1\0", b"1.3.9\0")])


def other_image(files: list[bytes]) -> bytes:
    return multipart([*files[:3], files[0]])


MESSAGES: dict[str, tuple[Callable[[list[bytes]], bytes], str]] = {
    "cut in an image": (lambda files: multipart(files)[:-700], "broke off after 3 of 4 images"),
    "cut at a boundary": (lambda files: multipart(files)[:-9], "broke off"),
    "only its end missing": (lambda files: multipart(files)[:-4], "broke off"),
    "empty": (lambda files: b"", "broke off after 0 of 4 images"),
    "an image too few": (lambda files: multipart(files[:3]), "expected 4 images, got 3"),
    "an image too many": (lambda files: multipart([*files, files[0]]), "more than the 4 images"),
    "the same image twice": (other_image, "other images"),
    "an image of another series": (other_series, "image 4 is not of series 1.3.1"),
    "no DICOM": (lambda files: multipart([b"Doeman^Janeway"] * 4), "image 1 is no DICOM"),
    "no multipart": (lambda files: b"Doeman^Janeway" * 100, "damaged multipart"),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_message_that_is_not_the_series_leaves_nothing(what: str, files: list[bytes], tmp_path: Path) -> None:
    make, expected = MESSAGES[what]
    (tmp_path / "cache").mkdir()
    with pytest.raises(DicomwebError, match=expected) as refused:
        fetch_from((200, TYPE, make(files)), files, tmp_path / "cache" / "s")
    assert not [secret for secret in SECRETS if secret in str(refused.value)]
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_answer_of_another_type_is_an_error(files: list[bytes], tmp_path: Path) -> None:
    with pytest.raises(DicomwebError, match="expected multipart/related, got 'text/html'"):
        fetch_from((200, {"Content-Type": "text/html"}, b"<html>"), files, tmp_path / "s")


def test_a_message_that_breaks_off_once_is_asked_for_again(files: list[bytes], tmp_path: Path) -> None:
    answers = iter([multipart(files)[:-700], multipart(files)])

    def give(path: str, query: dict[str, str], _: Any) -> Answer:
        return metadata_of(files) if path.endswith("/metadata") else (200, TYPE, next(answers))

    with service(give) as url:
        assert fetch_series(url, "1.2", "1.3.1", tmp_path / "s") == 4
    assert len(list((tmp_path / "s").iterdir())) == 4


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hidden@pacs/dicom-web",
        "https://hidden@pacs",
        "http://pacs/dicom-web?token=hidden",
        "http://user:hidden@pacs:port/x",
    ],
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="expected the address") as refused:
        find_remote_series(url, patient_of=key_of)  # before anything is asked
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["pacs", "ftp://pacs/x", "http://", "http://pacs:port", "http://pacs/a b", "http://a\\b"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no address of a DICOMweb service"):
        checked_url(url)


@pytest.mark.parametrize("uid", ["", ".", "..", "1/2", "1.2?x", "1.2\n", "1" * 65, "١.٢"])
def test_what_is_no_uid_reaches_no_address(uid: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a UID"):
        checked_uid(uid)
    with pytest.raises(ValueError, match="expected a UID"):
        fetch_series("http://127.0.0.1:1", "1.2", uid, tmp_path / "s")
    with pytest.raises(ValueError, match="expected a UID"):
        fetch_series("http://127.0.0.1:1", uid, "1.2", tmp_path / "s")


@pytest.mark.parametrize("name", ["limit", "Nonsense", "Patient ID"])
def test_a_filter_that_is_no_attribute_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        find_remote_series("http://127.0.0.1:1", patient_of=key_of, filters={name: "1"})


def test_credentials_come_from_the_environment_and_are_not_shown() -> None:
    environment = {"LUNGAPP_DICOMWEB_USER": "ann", "LUNGAPP_DICOMWEB_PASSWORD": "hidden"}
    credentials = Credentials.from_environment(environment)
    assert credentials == Credentials("ann", "hidden")
    assert Credentials.from_environment({"LUNGAPP_DICOMWEB_TOKEN": "abc"}) == Credentials(token="abc")
    assert Credentials.from_environment({}) == Credentials()
    assert "hidden" not in repr(credentials) + repr(Credentials(token="hidden"))


@pytest.mark.parametrize(
    "how",
    [
        {"user": "ann"},
        {"password": "hidden"},
        {"user": "ann", "password": "hidden", "token": "abc"},
        {"token": "hidden\r\nX: 1"},
        {"user": "a:b", "password": "hidden"},
    ],
)
def test_credentials_that_cannot_be_sent_are_refused_without_repeating_them(how: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="LUNGAPP_DICOMWEB_") as refused:
        Credentials(**how)
    assert "hidden" not in str(refused.value)
