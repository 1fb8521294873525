"""Front matter is found, its lines are kept, and what is no YAML is read line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from responder.errors import FileError
from responder.files import line_of
from responder.runbooks.frontmatter import front_matter, loose_front_matter, names_in, read_document


def document(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "it.md"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "front", "body"),
    [
        ("# Only text\n\n---\n\nmore", None, "# Only text\n\n---\n\nmore"),
        ("---\nname: a\n---\nbody", "name: a", "body"),
        ("\ufeff---\r\nname: a\r\n---\r\nbody\r\n", "name: a", "body"),
        ("\n\n---\nname: a\n---\n\nbody\n---\nrule", "name: a", "body\n---\nrule"),
        ("---\n---\nbody", "", "body"),
        ("", None, ""),
    ],
    ids=["none", "plain", "windows", "late", "empty", "no text"],
)
def test_a_file_is_split(tmp_path: Path, text: str, front: str | None, body: str) -> None:
    found = read_document(document(tmp_path, text))
    assert (found.front, found.body) == (front, body)


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    front = front_matter(read_document(document(tmp_path, "\n---\nname: a\n\ntitle: b\n---\nbody")))
    assert (line_of(front, "name"), line_of(front, "title")) == (3, 5)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("---\nname: a\n", r"it\.md:1: .* never ends"),
        ("---\n- a\n---\n", r"it\.md:2: .*`key: value`"),
        ("---\na: 1\nb: [\n---\n", r"it\.md:\d+: not YAML"),
        ("---\na: &x 1\n---\n", r"it\.md:2: anchors"),
    ],
)
def test_broken_front_matter_is_named_with_its_line(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(FileError, match=error):
        front_matter(read_document(document(tmp_path, text)))


def test_other_bytes_than_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "it.md"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(FileError, match="not UTF-8: byte 3 is 0xe9"):
        read_document(path)


def test_a_nul_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"it\.md:2: a NUL"):
        read_document(document(tmp_path, "a\nb\x00c"))


def test_unclosed_front_matter_ends_early_when_read_leniently(tmp_path: Path) -> None:
    found = read_document(document(tmp_path, "---\nname: a\n\n# Role\ntext"), lenient=True)
    assert (found.front, found.body) == ("name: a", "# Role\ntext")


def test_examples_in_a_description_are_read_line_by_line() -> None:
    front = "\n".join(
        [
            "name: guard",
            "description: Watches things. Examples:",
            "",
            "<example>",
            "Context: it broke",
            'user: "help: now"',
            "</example>",
            "",
            "model: sonnet",
            "color: red",
            "tools: Read, Bash(git add:*, git log:*)",
            "skills:",
            "  - one",
            "- two",
        ]
    )
    found = loose_front_matter(front)
    assert found["name"] == "guard"
    assert found["model"] == "sonnet"
    assert found["tools"] == ["Read", "Bash(git add:*, git log:*)"]
    assert found["skills"] == ["one", "two"]
    assert found["description"].startswith("Watches things. Examples:\n\n<example>\nContext: it broke")
    assert found["description"].endswith("</example>")
    assert "color" not in found


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, []),
        ("a, b", ["a", "b"]),
        ("[a, 'b']", ["a", "b"]),
        (["a", "b", "a", None], ["a", "b"]),
        ("- a\n- b", ["a", "b"]),
        ("", []),
    ],
)
def test_names_come_as_lists_or_as_text(value: object, names: list[str]) -> None:
    assert names_in(value) == names
