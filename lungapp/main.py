"""Where `monailabel start_server --app lungapp` looks for the app."""

from lungapp.app import LungApp

__all__ = ["LungApp"]
