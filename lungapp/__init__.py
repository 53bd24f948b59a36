"""The program: the MONAI Label app, settings, projects, the HTTP server, its pages and the command line.

The one package that knows all others and brings `trainers` and `strategies` together. Read `app.py` first.
"""

__version__ = "0.1.0"
