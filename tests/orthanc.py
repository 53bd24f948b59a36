"""A throw-away Orthanc with its DICOMweb plugin on a free port, where Orthanc is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from conftest import free_port

USER, PASSWORD = "lungapp", "pw:with colon ü"
PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc", "/usr/local/share/orthanc/plugins")


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc.

    Attributes:
        address: Of its own REST API.
    """

    address: str
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Root of its DICOMweb service."""
        return f"{self.address}/dicom-web"

    def upload(self, files: Iterable[Path]) -> None:
        with requests.Session() as session:
            for file in files:
                answer = session.post(f"{self.address}/instances", data=file.read_bytes(), auth=_account())
                answer.raise_for_status()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _account() -> tuple[bytes, bytes]:
    return USER.encode(), PASSWORD.encode()


def _program() -> str | None:
    return shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def _plugin() -> str | None:
    found = [path for folder in PLUGIN_FOLDERS for path in sorted(Path(folder).glob("libOrthancDicomWeb.so*"))]
    return str(found[0]) if found else None


@contextmanager
def orthanc() -> Iterator[Orthanc]:
    """An empty Orthanc that asks for `USER` and `PASSWORD`, gone with its images when the block ends."""
    program, plugin = _program(), _plugin()
    if program is None:
        pytest.skip("Orthanc is not installed")
    if plugin is None:
        pytest.skip("Orthanc's DICOMweb plugin is not installed")
    folder, port = Path(tempfile.mkdtemp(prefix="lungapp-orthanc-")), free_port()
    configuration = {
        "StorageDirectory": str(folder / "images"),
        "IndexDirectory": str(folder / "images"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomServerEnabled": False,
        "SynchronousMode": False,
        "Plugins": [plugin],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    log = folder / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=output, stderr=output, cwd=folder)
    server = Orthanc(f"http://127.0.0.1:{port}", process)
    try:
        _wait_until_it_answers(server, log)
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(server: Orthanc, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            requests.get(f"{server.url}/studies", auth=_account(), timeout=10).raise_for_status()
            return
        except requests.ConnectionError:
            time.sleep(0.05)
    pytest.fail(f"Orthanc did not start: {log.read_text()[-2000:]}")
