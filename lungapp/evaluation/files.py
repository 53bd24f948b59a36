"""What an evaluation found as files: two tables of comma-separated values, and everything as JSON.

The same evaluation gives the same bytes: no time and no duration stands in them.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from datastore.atomic import write_bytes
from infers.metrics import METRICS, StructureScore
from lungapp.evaluation.records import CaseFiles, CaseResult, Evaluation
from lungapp.segment_reports import SOFTWARE

CASES_CSV, STRUCTURES_CSV, JSON, REPORT = "cases.csv", "structures.csv", "evaluation.json", "report.html"
KEYS = tuple(metric.key for metric in METRICS)
CASE_COLUMNS = ("case", "group", "model", "outcome", "reason", *KEYS, "tumour_overlap", "notes")
STRUCTURE_COLUMNS = ("case", "group", "model", "structure", "presence", "reference_ml", "prediction_ml", *KEYS)
KIND = "lungapp evaluation"  # begins our JSON


def check_is_ours(folder: Path) -> None:
    """Refuse a folder where a file of somebody else has the name of one that we would write.

    Raises:
        FileExistsError: If there is one.
        NotADirectoryError: If a file lies there.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder, got a file")
    starts = {
        JSON: _text({"kind": KIND}).rstrip("\n }"),
        CASES_CSV: ",".join(CASE_COLUMNS),
        STRUCTURES_CSV: ",".join(STRUCTURE_COLUMNS),
    }
    for name, start in starts.items():
        path = folder / name
        if path.is_dir() or (path.exists() and not _begins(path, start)):
            raise FileExistsError(f"{path}: exists already and is none of ours: it is left as it is")
    if (folder / REPORT).exists() and not (folder / JSON).exists():  # which is written first
        raise FileExistsError(f"{folder / REPORT}: exists already and is none of ours: it is left as it is")


def write_files(evaluation: Evaluation, plain: Mapping[str, Any], folder: Path) -> None:
    """Write the tables and the JSON, each of them whole or not at all.

    Args:
        evaluation: What was found.
        plain: From `plain_evaluation`.
        folder: Is made if it is not there; see `check_is_ours`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    case_rows = [case_row(result) for result in evaluation.results]
    structure_rows = [structure_row(result, item) for result in evaluation.results for item in result.structures]
    for name, text in (
        (JSON, _text(plain)),
        (CASES_CSV, _table(CASE_COLUMNS, case_rows)),
        (STRUCTURES_CSV, _table(STRUCTURE_COLUMNS, structure_rows)),
    ):
        write_bytes(folder / name, text.encode(errors="backslashreplace"), overwrite=True)


def case_row(result: CaseResult) -> dict[str, Any]:
    """A row of `cases.csv`: the means over the case's structures."""
    return {
        "case": result.case,
        "group": result.group,
        "model": result.model,
        "outcome": result.outcome.value,
        "reason": result.reason,
        **{key: result.value(key) for key in KEYS},
        "tumour_overlap": result.tumour_overlap,
        "notes": "; ".join(result.notes),
    }


def structure_row(result: CaseResult, item: StructureScore) -> dict[str, Any]:
    """A row of `structures.csv`."""
    return {
        "case": result.case,
        "group": result.group,
        "model": result.model,
        "structure": item.name,
        "presence": item.presence.value,
        **{name: getattr(item, name) for name in ("reference_ml", "prediction_ml", *KEYS)},
    }


def plain_evaluation(
    evaluation: Evaluation,
    options: Mapping[str, Any],
    tables: Iterable[Any] = (),
    comparisons: Iterable[Any] = (),
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything as plain values, for JSON: numbers in full, null for what is not defined, "inf" for infinity.

    Args:
        evaluation: What was found.
        options: What was asked for.
        tables: Records of `evaluation_tables`, as are `comparisons`.
        comparisons: Each knows its `sentence`.
        warnings: Sentences that hold for the evaluation as a whole.
    """
    rows = iter(evaluation.results)
    count = len(evaluation.models)
    plain = {
        "kind": KIND,
        "software": SOFTWARE,
        "options": dict(options),
        "models": evaluation.models,
        "groups": evaluation.groups,
        "left_out": evaluation.left_out,
        "structures": evaluation.structures,
        "tolerance_mm": evaluation.tolerance_mm,
        "metrics": [asdict(metric) for metric in METRICS],
        "warnings": warnings,
        "tables": [asdict(table) for table in tables],
        "comparisons": [asdict(item) | {"sentence": item.sentence()} for item in comparisons],
        "cases": [_plain_case(files, [next(rows) for _ in range(count)]) for files in evaluation.cases],
    }
    return {name: _finite(value) for name, value in plain.items()}


def _plain_case(files: CaseFiles, results: Sequence[CaseResult]) -> dict[str, Any]:
    masks = dict(files.predictions)
    return {
        "case": files.case,
        "group": files.group,
        "reference": files.reference,
        "image": files.image,
        "tumour": files.tumour,
        "results": [
            {
                "model": result.model,
                "prediction": masks.get(result.model),
                "outcome": result.outcome.value,
                "reason": result.reason,
                "values": {key: result.value(key) for key in KEYS},
                "tumour_overlap": result.tumour_overlap,
                "structures": [asdict(item) | {"presence": item.presence.value} for item in result.structures],
                "notes": result.notes,
            }
            for result in results
        ],
    }


def _finite(value: Any) -> Any:
    """Values that every reader of JSON knows."""
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(columns)
    for row in rows:
        cells = [_cell(row[name]) for name in columns]
        has_return = any("\r" in cell for cell in cells)  # which QUOTE_MINIMAL leaves bare: half a row for readers
        quoting: Literal[0, 1] = csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL
        csv.writer(text, quoting=quoting, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _cell(value: Any) -> str:
    """A number in full; nothing for what is not defined.

    >>> _cell(0.1), _cell(float("inf")), _cell(float("nan")), _cell(None)
    ('0.1', 'inf', '', '')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def _text(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, indent=2, allow_nan=False) + "\n"


def _begins(path: Path, start: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(start)) == start.encode()
