"""A throw-away PostgreSQL cluster on a unix socket, where PostgreSQL is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@contextmanager
def cluster() -> Iterator[str]:
    """The SQLAlchemy URL of an empty database, gone with its cluster when the block ends."""
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("PostgreSQL is not installed")
    user: dict[str, object] = {}
    folder = Path(tempfile.mkdtemp(prefix="lungapp-pg-"))
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **user)  # type: ignore[call-overload]

    data = folder / "data"
    try:
        run(initdb, "--no-sync", "-A", "trust", "-U", "lungapp", "-D", str(data))
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=200"
        run(pg_ctl, "-w", "-D", str(data), "-l", str(folder / "log"), "-o", options, "start")
        yield f"postgresql+psycopg://lungapp@/postgres?host={folder}"
    finally:
        if (data / "postmaster.pid").exists():
            run(pg_ctl, "-m", "immediate", "-D", str(data), "stop")
        shutil.rmtree(folder, ignore_errors=True)
