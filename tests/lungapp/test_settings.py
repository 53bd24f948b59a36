from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from conftest import REPOSITORY

from lungapp.settings import Settings, load_settings, settings_table, template


def write(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "lungapp.toml"
    path.write_text(content)
    return path


def test_the_template_holds_every_setting_at_its_default(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, template())) == Settings()
    content = tomllib.loads(template())
    assert {(section, name) for section in content for name in content[section]} == {
        (section, name) for section, name, _, _ in settings_table()
    }


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, "")) == Settings()


def test_quotes_in_a_name_survive(tmp_path: Path) -> None:
    name = 'the "big" \\ study'
    assert load_settings(write(tmp_path, template(project__name=name))).project.name == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[server]\nprot = 1", "unknown setting server.prot: did you mean server.port?"),
        ("[serve]\nport = 1", r"unknown section \[serve\]: did you mean server?"),
        ("port = 1", "unknown section"),
        ("[server]\nport = 'x'", "server.port = 'x': input should be a valid integer"),
        ("[server]\nport = 70000", "server.port = 70000: input should be less than or equal to 65535"),
        ("[annotation]\nlease_minutes = 0", "lease_minutes"),
        ("[server", "not valid TOML"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_settings(write(tmp_path, content))
    assert "lungapp.toml" in str(caught.value)


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGAPP_SERVER__PORT", "9001")
    settings = load_settings(write(tmp_path, "[server]\nport = 9000\ninference_workers = 3"))
    assert settings.server.port == 9001
    assert settings.server.inference_workers == 3


def test_settings_never_change_once_read() -> None:
    with pytest.raises(ValueError):
        Settings().server.port = 1  # type: ignore[misc]


def test_the_documentation_lists_every_setting_with_its_default() -> None:
    text = (REPOSITORY / "docs" / "settings.md").read_text()
    for section, name, default, description in settings_table():
        assert f"| `{section}.{name}` | `{default!r}` | {description} |" in text
