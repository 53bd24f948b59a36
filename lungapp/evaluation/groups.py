"""Which test set a case belongs to: its folder, a column of a table, or what a project knows of it."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from pathlib import Path

from lungapp.evaluation.pairing import pair

CASE_COLUMN = "case"
FOLDER, NO_GROUPS = "folder", "none"


def by_folder(makers: Mapping[str, str]) -> dict[str, str]:
    """Group by case: the first folder of its name, "" where it lies in none.

    Args:
        makers: See `Roster`.
    """
    return {case: case.partition("/")[0] if "/" in case else "" for case in makers}


def are_groups(groups: Mapping[str, str]) -> bool:
    """Whether groups are worth a column each: one of them has two cases; a folder for each case is no group."""
    named = [group for group in groups.values() if group]
    return len(set(named)) < len(named)


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """The other columns of a table by its column `case`.

    Args:
        path: Comma-separated values with a head.

    Raises:
        ValueError: If it is no such table, or has a case or a column twice.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows, columns = list(reader), list(reader.fieldnames or ())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read as a table: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as a table: {error}") from error
    if CASE_COLUMN not in columns or len(columns) < 2:
        raise ValueError(f"{path}: expected a column `{CASE_COLUMN}` and another one, got {', '.join(columns)}")
    if len(set(columns)) < len(columns):
        raise ValueError(f"{path}: two columns have one name: {', '.join(columns)}")
    table: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ValueError(f"{path}: row {number} has not {len(columns)} columns as the head has")
        case = row.pop(CASE_COLUMN).strip()
        if case in table:
            raise ValueError(f"{path}: has case {case} twice")
        table[case] = {name: value.strip() for name, value in row.items()}
    return table


def by_column(
    makers: Mapping[str, str], table: Mapping[str, Mapping[str, str]], column: str | None, needed: Collection[str]
) -> dict[str, str]:
    """Group by case, from a column of a table; names are matched as those of files are.

    Args:
        makers: See `Roster`.
        table: From `read_table`.
        column: One of its columns, or None if it has just one.
        needed: Cases that have to be in the table; others have no group if they are not.

    Raises:
        ValueError: If there is no such column, a case is not in it, or it cannot be told which one it is.
    """
    columns = list(next(iter(table.values()), {}))
    if column is None and len(columns) == 1:
        column = columns[0]
    if column not in columns:
        asked = "--by says which" if column is None else f"got --by {column}"
        raise ValueError(f"expected one of the table's columns {', '.join(columns)}: {asked}")
    rows = pair(makers, table, "row")
    missing = sorted(set(needed) - set(rows))
    if missing:
        more = len(missing) - 1
        others = f" and {more} other{'s' * (more > 1)}" if more else ""
        raise ValueError(f"the table of cases has no row for {missing[0]}{others}")
    return {case: table[name][column] for case, name in rows.items()}
