"""responder.yaml: defaults, variables, secrets, and errors that say where."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from responder.config import Settings, load, placed, read_section, secrets
from responder.errors import ConfigError, FileError


def written(folder: Path, text: str) -> Path:
    path = folder / "responder.yaml"
    path.write_text(text)
    return path


def read(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Settings:
    return load(written(folder, text), environment or {})


def test_without_a_file_everything_has_a_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load(None, {})
    assert (found.listen, found.host, found.port, found.loopback) == ("127.0.0.1:8080", "127.0.0.1", 8080, True)
    assert found.sqlite_path == Path("responder.db")
    assert list(found.receivers) == ["alertmanager"]
    assert found.api.tokens == ()


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"], ids=["empty", "comment", "braces"])
def test_a_file_that_says_nothing_changes_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).listen == "127.0.0.1:8080"


def test_the_file_in_the_folder_is_found_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "listen: 127.0.0.1:1\n")
    monkeypatch.chdir(tmp_path)
    assert load(None, {}).port == 1


def test_a_file_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        load(tmp_path / "none.yaml", {})


def test_paths_are_taken_from_the_files_folder(tmp_path: Path) -> None:
    found = read(tmp_path, "rules: mine/\nrunbooks: [a, /b]\nstore: sqlite:data/x.db\n")
    assert found.rules == (tmp_path / "mine",)
    assert found.runbooks == (tmp_path / "a", Path("/b"))
    assert found.sqlite_path == tmp_path / "data" / "x.db"
    assert read(tmp_path, "store: sqlite:///x/y.db\n").sqlite_path == Path("/x/y.db")


def test_variables_and_secret_files_are_put_in(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n")
    text = f'base_url: "http://${{HOST}}:${{PORT}}/"\nllm: {{api_key: "file:{tmp_path}/token"}}\n'
    found = read(tmp_path, text, {"HOST": "h", "PORT": "1"})
    assert (found.base_url, found.llm["api_key"]) == ("http://h:1/", "from a file")


def test_a_variables_value_is_never_read_again(tmp_path: Path) -> None:
    found = read(tmp_path, 'base_url: "${A}"\nllm: {x: "${B}"}\n', {"A": "${B}", "B": "file:/etc/passwd"})
    assert (found.base_url, found.llm["x"]) == ("${B}", "file:/etc/passwd")


WRONG: dict[str, tuple[str, int, str]] = {
    "a misspelt key": ("listen: 127.0.0.1:1\nlisten_on: x\n", 2, "listen_on: unknown key"),
    "a misspelt key inside": (
        "api:\n  tokens:\n    - {person: a, token: b}\n    - {persn: a, token: b}\n",
        4,
        "api.tokens.1",
    ),
    "a variable that is not set": ("a: 1\nbase_url: ${NONE}\n", 2, "NONE is not set"),
    "a secret that is not there": ("llm:\n  api_key: file:/nowhere/at/all\n", 2, "cannot be read"),
    "a wrong type": ("drain_s: soon\n", 1, "drain_s"),
    "a right that is none": ("api: {tokens: [{person: a, token: b, may: [rule]}]}\n", 1, "'rule' is not one of read"),
    "a list": ("- a\n", 1, "mapping"),
    "a text": ("hello\n", 1, "mapping"),
    "a key twice": ("listen: a:1\nlisten: b:2\n", 2, "twice"),
    "receivers as a list": ("receivers: [alertmanager]\n", 1, "receivers"),
}


@pytest.mark.parametrize(("text", "line", "says"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(FileError, match=says) as caught:
        read(tmp_path, text)
    assert caught.value.line == line


@pytest.mark.parametrize("token", ["", "  "])
def test_an_empty_token_is_refused_for_a_missing_header_would_equal_it(tmp_path: Path, token: str) -> None:
    with pytest.raises(FileError, match=r"api\.tokens\.0\.token: .*empty"):
        read(tmp_path, "api: {tokens: [{person: anna, token: '${TOKEN}'}]}\n", {"TOKEN": token})


def test_a_section_with_nothing_behind_it_means_its_defaults(tmp_path: Path) -> None:
    found = read(tmp_path, "chat:\n  slack:\nreceivers:\n  alertmanager:\n")
    assert (found.chat, found.receivers) == ({"slack": {}}, {"alertmanager": {}})


@pytest.mark.parametrize(
    ("listen", "host", "port", "loopback"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80, True),
        ("127.1.2.3:80", "127.1.2.3", 80, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:80", "::1", 80, True),
        (":80", "0.0.0.0", 80, False),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("[::]:80", "::", 80, False),
        ("10.0.0.1:0", "10.0.0.1", 0, False),
        ("example.com:80", "example.com", 80, False),
    ],
)
def test_where_to_listen(listen: str, host: str, port: int, loopback: bool) -> None:
    found = Settings(listen=listen)
    assert (found.host, found.port, found.loopback) == (host, port, loopback)


@pytest.mark.parametrize(
    "listen", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", "", "x:²"]
)
def test_a_port_that_is_none_is_said_so(listen: str) -> None:
    with pytest.raises(ValidationError, match="is not HOST:PORT"):
        Settings(listen=listen)


def test_another_kind_of_store_is_said_so() -> None:
    with pytest.raises(ConfigError, match="postgresql"):
        _ = Settings(store="postgresql://x").sqlite_path


class Section(BaseModel, frozen=True, extra="forbid"):
    """Settings of an integration."""

    token: SecretStr | None = None
    n: int = 1


def test_a_sections_errors_name_the_key_and_never_a_secret() -> None:
    with pytest.raises(ConfigError, match=r"chat.x.tokn: unknown key; known: n, token") as caught:
        read_section(Section, "chat.x", {"tokn": "hush-hush"})
    assert "hush" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"chat.x.n: ") as caught:
        read_section(Section, "chat.x", {"n": "x", "token": "hush-hush"})
    assert "hush" not in str(caught.value)


def test_every_secret_of_a_tree_is_found() -> None:
    class Tree(BaseModel):
        section: Section
        many: tuple[SecretStr, ...]
        named: dict[str, SecretStr]
        plain: str

    tree = Tree(section=Section(token=SecretStr("a")), many=(SecretStr("b"),), named={"x": SecretStr("c")}, plain="d")
    assert secrets(tree) == {"a", "b", "c"}


def test_a_token_does_not_show_itself(tmp_path: Path) -> None:
    found = read(tmp_path, "api: {tokens: [{person: a, token: hush-hush}]}\n")
    assert "hush" not in repr(found)
    assert secrets(found) == {"hush-hush"}


@pytest.mark.parametrize(
    ("said", "line"),
    [("receivers.grafana.secret: too short", 3), ("receivers.grafana.nothing: unknown key", 2), ("no key at all", 0)],
)
def test_an_error_of_an_integration_names_file_and_line(tmp_path: Path, said: str, line: int) -> None:
    file = tmp_path / "responder.yaml"
    file.write_text("receivers:\n  grafana:\n    secret: x\n")
    found = str(placed(file, ConfigError(said)))
    assert found == (f"{file}:{line}: {said}" if line else said)
