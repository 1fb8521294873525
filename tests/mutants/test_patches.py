"""A planted fault is worth something only while it can be planted."""

from __future__ import annotations

import shutil

import pytest

from tests.mutants.run import ROOT, apply, find


@pytest.mark.skipif(shutil.which("git") is None, reason="not installed: git")
def test_each_planted_fault_still_applies() -> None:
    """When code moves, the patch moves with it: plant the same fault in its new place, and see its tests go red."""
    wrong = [f"{each.name} {said}" for each in find(()) if (said := apply(each, ROOT, "--check"))]
    assert wrong == []
