"""Starts server processes that have imported everything already; each `start` on standard input forks one.

Importing MONAI Label takes seconds: twenty killed servers would cost minutes without this.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import uvicorn  # noqa: F401 - imported before the fork, as are the next two

import lungapp.app
import lungapp.server  # noqa: F401
from lungapp.project import open_project
from lungapp.serving import serve

if __name__ == "__main__":
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    print("imported", flush=True)
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            serve(open_project(folder), None, port, lambda line: None)
            os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)
