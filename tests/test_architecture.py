"""Who may import whom: the borders that keep the five packages apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

MAY_IMPORT = {
    "datastore": set(),
    "infers": {"datastore"},
    "trainers": {"datastore", "infers"},
    "strategies": {"datastore", "infers"},
    "lungapp": {"datastore", "infers", "trainers", "strategies"},
}
MODULES = sorted(
    path.relative_to(REPOSITORY).as_posix() for package in MAY_IMPORT for path in (REPOSITORY / package).rglob("*.py")
)


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_package_may(module: str) -> None:
    package = module.split("/")[0]
    found = set(imported(REPOSITORY / module))
    assert found & set(MAY_IMPORT) - {package} <= MAY_IMPORT[package]
    if package != "lungapp" and not module.endswith("/adapter.py"):
        assert "monailabel" not in found
    if package != "datastore":
        assert "sqlalchemy" not in found


def test_there_are_modules_to_look_at() -> None:
    assert {module.split("/")[0] for module in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_says_what_lives_in_it(package: str) -> None:
    docstring = ast.get_docstring(ast.parse((REPOSITORY / package / "__init__.py").read_text(encoding="utf-8")))
    assert docstring is not None and len(docstring) > 60
