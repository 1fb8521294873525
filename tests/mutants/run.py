"""Plants each fault of this folder into a copy of the source and demands that the tests it names go red.

Run: python -m tests.mutants.run [NAME ...]. A patch is a unified diff whose first line is `# tests that must go red`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COPIED = ("responder", "rules", "runbooks", "tests", "pyproject.toml", "README.md")
AT_ONCE = 2
LONGEST_S = 300  # the tests of one fault
ALL_S = 1800  # those of all, once, without any
FAILED = 1  # what pytest says when a test is red; anything else is a fault of ours


@dataclass(frozen=True)
class Mutant:
    """One planted fault."""

    path: Path
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def find(names: Sequence[str]) -> list[Mutant]:
    """Read the patches; `names` chooses some."""
    found = []
    for path in sorted(HERE.glob("*.patch")):
        first = path.read_text("utf-8").splitlines()[0]
        tests = tuple(first.removeprefix("#").split())
        missing = [each for each in tests if not (ROOT / each).is_file()]
        if not first.startswith("#") or not tests or missing:
            raise SystemExit(f"{path.name}: the first line must name its tests; missing: {' '.join(missing)}")
        if not names or path.stem in names:
            found.append(Mutant(path, tests))
    return found


def copy(folder: Path) -> None:
    """Copy what the tests need."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".hypothesis")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        elif source.exists():
            shutil.copy(source, folder / name)


def run_tests(folder: Path, tests: Sequence[str], within_s: float) -> tuple[int, str]:
    """Run tests over a copy -> (pytest's exit code, its last lines)."""
    where = subprocess.run(
        [sys.executable, "-c", "import responder; print(responder.__file__)"],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    if folder.resolve() not in Path(where.strip()).resolve().parents:
        raise SystemExit(f"the copy is not what is imported: {where}")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--timeout=60",
        "--no-header",
        *tests,
    ]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=within_s, check=False)
    except subprocess.TimeoutExpired:
        return FAILED, "took too long, as it does when a loop never ends"
    return done.returncode, "\n".join(done.stdout.strip().splitlines()[-3:])


def apply(mutant: Mutant, folder: Path, *options: str) -> str:
    """Change the source as the patch says; gives "" when that is done, else why not. `options` are those of git."""
    command = ["git", "apply", "-p1", "-C1", *options, str(mutant.path)]
    applied = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return f"does not apply any more; write it anew: {applied.stderr.strip()}" if applied.returncode else ""


def plant(mutant: Mutant) -> str:
    """Plant one fault; gives "" when it was noticed, else what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder)
        if wrong := apply(mutant, folder):
            return wrong
        code, said = run_tests(folder, mutant.tests, LONGEST_S)
        if code == 0:
            return "nobody noticed"
        return "" if code == FAILED else f"the tests did not run: {said}"


def check_green(mutants: Sequence[Mutant]) -> None:
    """A test that is red without any fault proves nothing."""
    tests = sorted({each for mutant in mutants for each in mutant.tests})
    with tempfile.TemporaryDirectory() as name:
        copy(Path(name))
        code, said = run_tests(Path(name), tests, ALL_S)
    if code:
        raise SystemExit(f"red without any fault:\n{said}")


def main(names: Sequence[str]) -> int:
    """Plant all, or the named; 0 when each was noticed."""
    mutants = find(names)
    if not mutants:
        raise SystemExit(f"no such mutant: {' '.join(names)}")
    check_green(mutants)
    escaped = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for mutant, wrong in zip(mutants, pool.map(plant, mutants), strict=True):
            escaped += bool(wrong)
            sys.stdout.write(f"{'ESCAPED' if wrong else 'noticed'}  {mutant.name}{f': {wrong}' if wrong else ''}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(mutants) - escaped} of {len(mutants)} faults noticed\n")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
