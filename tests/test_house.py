"""The house itself: what a wheel carries, what the locks pin, and that no file names the machine it was written on."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")
PINNED = re.compile(r"([a-z0-9][a-z0-9.-]*)==([\w.+!-]+)((?: --hash=sha256:[0-9a-f]{64})+)")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def pins(lock: str) -> dict[str, str]:
    """Read a lock into versions by name; any line that is no hashed pin fails."""
    lines = (ROOT / lock).read_text("utf-8").replace(" \\\n", "").splitlines()
    found = {}
    for line in lines:
        match = PINNED.fullmatch(re.sub(r"\s+", " ", line))
        assert match, f"{lock}: not a pin with hashes: {line[:80]}"
        found[match[1]] = match[2]
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", str(folder), str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = folder.glob("*.whl")
    return built


def test_a_wheel_carries_all_that_the_daemon_reads(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    for folder in ("rules", "runbooks", "deploy"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert files
        assert {f"responder/shipped/{path.relative_to(ROOT)}" for path in files} <= names
    package = [path for path in (ROOT / "responder").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {str(path.relative_to(ROOT)) for path in package} <= names
    assert "responder/store/sqlite/schema.sql" in names


def test_a_wheel_carries_the_command_and_the_licence_and_no_tests(wheel: Path) -> None:
    with ZipFile(wheel) as opened:
        names = opened.namelist()
        [info] = {name.split("/")[0] for name in names if ".dist-info/" in name}
        assert "responder = responder.__main__:main" in opened.read(f"{info}/entry_points.txt").decode()
        assert f"{info}/licenses/LICENSE" in names
    assert {name.split("/")[0] for name in names} == {"responder", info}


def test_an_installed_wheel_finds_its_own_rules_and_runbooks(wheel: Path, tmp_path: Path) -> None:
    ZipFile(wheel).extractall(tmp_path / "site")
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "responder", "check"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    where = "import responder.app; print(responder.app.shipped('rules'), responder.app.shipped('deploy'))"
    asked = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert asked.stdout.split() == [str(tmp_path / "site/responder/shipped" / name) for name in ("rules", "deploy")]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_names_no_address(lock: str) -> None:
    assert pins(lock)
    assert "://" not in (ROOT / lock).read_text("utf-8")


def test_the_locks_hold_what_the_project_asks_for() -> None:
    run, dev = (pins(lock) for lock in LOCKS)
    asked = {name_of(each) for each in PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]}
    assert asked | {"editables"} <= set(run), "an editable install without build isolation needs editables"
    assert {name_of(each) for each in PROJECT["dependency-groups"]["dev"]} <= set(dev)
    assert run.items() <= dev.items(), "what is tested is what runs"


def test_the_design_says_what_each_dependency_is_for() -> None:
    text = (ROOT / "DESIGN.md").read_text("utf-8")
    table = {name_of(name) for name in re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)}
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    assert {name_of(each) for each in asked} <= table


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    private = re.compile(rb"/(?:work|root|home)/\w")
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file():
            found = private.search(path.read_bytes())
            assert not found, f"{name}: {found and found[0]!r}"
