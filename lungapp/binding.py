"""The address that a server listens on."""

from __future__ import annotations

import os
import socket

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that the address is certain before anything is promised.

    Args:
        host: An address of this machine alone.
        port: 0 takes a free one.

    Raises:
        ValueError: If the address can be reached from other machines: there are no users yet who could log in.
        OSError: If the port is taken.
    """
    if host not in LOCAL_HOSTS:
        raise ValueError(
            f"refusing to listen on {host}: anybody who reaches it could read scans and submit masks; "
            "listen on 127.0.0.1 and let others in through an SSH tunnel"
        )
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; try --port 0") from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The http address of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
