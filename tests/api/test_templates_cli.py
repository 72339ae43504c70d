"""`notifications templates`: a folder of files against a running service."""

import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from tests.api.conftest import Call, Get
from tests.support.service import API_KEY, ROOT, Service

_numbers = count(1)

HEAD = """default_locale: en
params:
- name: order
  type: integer
  example: 17
- name: day
  type: date
  example: 2030-01-31
"""
ENGLISH = "---\ntitle: Order {{ order }}\n---\nPaid **{{ day|date }}**.\n"
RUSSIAN = "---\ntitle: Заказ {{ order }}\n---\nОплачен {{ day|date }}.\n\n"


@pytest.fixture
def key() -> str:
    return f"cli-{next(_numbers)}"


@pytest.fixture
def folder(tmp_path: Path, key: str) -> Path:
    home = tmp_path / "templates" / key
    home.mkdir(parents=True)
    (home / "template.yaml").write_text(HEAD)
    (home / "en.md").write_text(ENGLISH)
    (home / "ru.txt").write_text(RUSSIAN)
    (home / "ru.WEBHOOK.html").write_text("<b>{{ order }}</b>\n")
    return tmp_path / "templates"


def run(service: Service, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", "templates", *map(str, arguments)],
        cwd=ROOT,
        env={"NOTIFICATIONS_URL": service.url, "NOTIFICATIONS_API_KEY": API_KEY, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def files(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.*") if file.is_file()}


def test_import_shows_first_and_saves_when_told(
    service: Service, call: Call, get: Get, folder: Path, key: str
) -> None:
    shown = run(service, "import", folder)
    assert shown.returncode == 0, shown.stderr
    assert f"{key}: new" in shown.stdout
    assert "+title: Order {{ order }}" in shown.stdout
    assert "1 templates would change" in shown.stdout
    assert call("GET", f"/v1/templates/{key}").status == 404

    assert "1 templates are saved" in run(service, "import", folder, "--yes").stdout
    stored = get(f"/v1/templates/{key}")
    assert {(item["locale"], item["sender"], item["format"]) for item in stored["variants"]} == {
        ("en", None, "markdown"),
        ("ru", None, "plain"),
        ("ru", "WEBHOOK", "html"),
    }
    assert stored["params"][1]["example"] == "2030-01-31"
    assert next(item["body"] for item in stored["variants"] if item["format"] == "plain").endswith(".\n")
    assert "0 templates are saved" in run(service, "import", folder, "--yes").stdout

    (folder / key / "en.md").write_text(ENGLISH.replace("Paid", "Was paid"))
    changed = run(service, "import", folder)
    assert "-Paid **{{ day|date }}**." in changed.stdout
    assert "+Was paid **{{ day|date }}**." in changed.stdout


def test_export_is_the_reverse_of_import(service: Service, folder: Path, key: str, tmp_path: Path) -> None:
    assert run(service, "import", folder, "--yes").returncode == 0
    out = tmp_path / "exported"
    (out / key).mkdir(parents=True)
    (out / key / "de.txt").write_text("gone\n")
    assert run(service, "export", out).returncode == 0
    exported = {name: text for name, text in files(out).items() if name.startswith(f"{key}/")}
    head = f"{key}/template.yaml"
    assert {**exported, head: ""} == {**files(folder), head: ""}
    assert "example: '2030-01-31'" in exported[head]


def test_preview(service: Service, folder: Path, key: str) -> None:
    run(service, "import", folder, "--yes")
    shown = run(service, "preview", key, "--locale", "ru", "--params", '{"order": 5, "day": "2030-02-01"}')
    assert "Заказ 5" in shown.stdout
    assert "Оплачен 1 февр. 2030" in shown.stdout
    failed = run(service, "preview", key, "--params", "{}")
    assert (failed.returncode, "params.day" in failed.stderr) == (1, True)


def test_check_needs_no_service(folder: Path, key: str, service: Service) -> None:
    fine = run(service, "check", folder)
    assert (fine.returncode, fine.stdout) == (0, "no errors\n")
    (folder / key / "en.md").write_text("\n{{ ordre }}\n")
    broken = run(service, "check", folder)
    assert broken.returncode == 1
    assert f"error: {key}: variants.en: uses ordre, which is not declared" in broken.stdout


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("template.yaml", "default_locale: [", "is no YAML"),
        ("template.yaml", "- 1", "is no mapping"),
        ("template.yaml", "default_locale: English", "template.yaml: default_locale"),
        ("en.TG.md", "", "en.TG.md: body"),
        ("English.md", "x", "English.md: locale"),
    ],
)
def test_broken_files_are_named(
    service: Service, folder: Path, key: str, name: str, text: str, complaint: str
) -> None:
    (folder / key / name).write_text(text)
    failed = run(service, "check", folder)
    assert failed.returncode == 1
    assert complaint in failed.stderr


def test_a_folder_without_templates_is_no_success(service: Service, tmp_path: Path) -> None:
    failed = run(service, "import", tmp_path, "--yes")
    assert failed.returncode == 1
    assert "has no templates" in failed.stderr
