"""Running the server until it is stopped."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lungapp.project import Project


def serve(
    project: Project,
    host: str | None,
    port: int | None,
    say: Callable[[str], object],
    when_ready: Callable[[str], bool] | None = None,
) -> None:
    """Serve a project; returns when the server is stopped.

    Args:
        project: What to serve.
        host: Address, or None for the project's setting.
        port: Port, or None for the project's setting.
        say: Prints a line for people.
        when_ready: Called with the address once the server answers; it stops if this returns True.

    Raises:
        ValueError: If others than this machine could reach the address.
        OSError: If the port is taken.
    """
    from lungapp.binding import address_of, bind

    settings = project.settings.server
    listener = bind(host or settings.host, settings.port if port is None else port)
    address = address_of(listener)
    os.environ.setdefault("MONAI_LABEL_AUTO_UPDATE_SCORING", "false")
    import uvicorn

    from lungapp.app import LungApp
    from lungapp.rounds.supervisor import supervisor_of
    from lungapp.server import create_app

    app = LungApp(str(Path(__file__).parent), str(project.folder), {})
    asgi = create_app(app, supervisor_of(project, app.registry))
    server = uvicorn.Server(uvicorn.Config(asgi, log_level="warning", timeout_graceful_shutdown=5))

    def announce() -> None:
        while not server.started:
            if server.should_exit:
                return
            time.sleep(0.05)
        counts = app.registry.counts()
        say(f"{app.name}: {counts.total} cases, {counts.completed} submitted")
        say(f"Open {address} in a browser, or give it to 3D Slicer's MONAILabel module. Ctrl+C stops it.")
        if when_ready is not None and when_ready(address):
            server.should_exit = True

    threading.Thread(target=announce, daemon=True).start()
    with suppress(KeyboardInterrupt):  # Ctrl+C is how one stops it
        server.run(sockets=[listener])
