"""`python -m lungapp`."""

from lungapp.cli import main

main(prog_name="lungapp")
