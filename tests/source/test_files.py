"""Files and overlays: what is opened, how much of it, and what overlays change."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.diagnostics import Rejected, render_text
from fleet.source import MAX_BYTES, SourceText, merge, parse, read_document, read_file, stack_file
from fleet.source.files import decode

BASE = "apiVersion: fleetc.dev/v1\nkind: Fleet\nspec:\n  a: 1\n  b: {c: 2, d: 3}\n  e: [1, 2]\n"
HEADER = "apiVersion: fleetc.dev/v1\nkind: FleetOverlay\n"


def rules_of(stack: Path) -> list[str]:
    with pytest.raises(Rejected) as caught:
        read_document(stack)
    assert render_text(caught.value.diagnostics, caught.value.sources)
    return [diagnostic.rule for diagnostic in caught.value.diagnostics]


def write(folder: Path, content: bytes, name: str = "fleet.yaml") -> Path:
    (folder / name).write_bytes(content)
    return folder


def test_a_stack_is_given_by_its_folder_or_its_file(tmp_path: Path) -> None:
    write(tmp_path, BASE.encode())
    assert read_document(tmp_path).data == read_document(tmp_path / "fleet.yaml").data
    assert stack_file(str(tmp_path)) == tmp_path / "fleet.yaml"


def test_messages_name_the_file_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, b"a: b: c\n")
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(Rejected) as caught:
        read_document(Path(tmp_path.name))
    assert caught.value.diagnostics[0].span is not None
    assert caught.value.diagnostics[0].span.file == f"{tmp_path.name}/fleet.yaml"


BYTES = [
    pytest.param(b"\xff\xfea\0:\0 \x001\0", "not-utf-8", id="UTF-16"),
    pytest.param(b"a: \xe9\n", "not-utf-8", id="Latin-1"),
    pytest.param(b"\x7fELF\x02\x01\x01\0\0\0\xff", "not-utf-8", id="a program"),
    pytest.param(b"a: 1\0\n", "control-character", id="a NUL in text"),
    pytest.param(b"", "empty-file", id="no bytes"),
    pytest.param(b"\xef\xbb\xbf", "empty-file", id="a byte-order mark alone"),
    pytest.param(b"\xef\xbb\xbf\xef\xbb\xbfa: 1", "control-character", id="two byte-order marks"),
]


@pytest.mark.parametrize(("content", "rule"), BYTES)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, content: bytes, rule: str) -> None:
    assert rules_of(write(tmp_path, content)) == [rule]


def test_the_first_byte_that_is_not_utf_8_is_shown() -> None:
    with pytest.raises(Rejected) as caught:
        decode("f", "é: 1\nxy".encode() + b"\xe9 z\n")
    (found,) = caught.value.diagnostics
    assert found.span is not None
    assert (found.span.line, found.span.column) == (2, 3)
    assert found.labels[0].text == "byte 0xE9"


def test_a_byte_order_mark_is_removed(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, b"\xef\xbb\xbf" + BASE.encode()))
    assert document.data["kind"] == "Fleet"
    assert document.span(("apiVersion",), key=True).column == 1


def test_a_missing_stack_is_told_from_a_folder_without_a_file(tmp_path: Path) -> None:
    assert rules_of(tmp_path / "nowhere") == ["file-not-found"]
    assert rules_of(tmp_path) == ["file-not-found"]
    write(tmp_path, BASE.encode(), "fleet.yml")
    with pytest.raises(Rejected) as caught:
        read_document(tmp_path)
    assert caught.value.diagnostics[0].help == "rename fleet.yml to fleet.yaml"


def test_a_folder_a_pipe_and_a_device_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "fleet.yaml").mkdir(parents=True)
    assert rules_of(tmp_path / "a") == ["not-a-file"]
    os.mkfifo(tmp_path / "pipe")
    assert rules_of(tmp_path / "pipe") == ["not-a-file"]
    assert rules_of(Path("/dev/zero")) == ["not-a-file"]


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "fleet.yaml/below", "a/" * 3000])
def test_a_path_that_cannot_exist_is_a_diagnostic(tmp_path: Path, name: str) -> None:
    write(tmp_path, BASE.encode())
    assert rules_of(tmp_path / name)[0] in ("file-not-found", "file-not-readable")


def test_what_the_system_refuses_to_read_is_a_diagnostic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, BASE.encode())

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert rules_of(tmp_path) == ["file-not-readable"]


def test_a_loop_of_links_is_a_diagnostic(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").symlink_to(tmp_path / "fleet.yaml")
    assert rules_of(tmp_path)[0] in ("file-not-found", "file-not-readable")


def test_a_file_of_fifty_megabytes_is_never_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "fleet.yaml").open("wb") as file:
        file.truncate(50 * 2**20)
    tracemalloc.start()
    started = time.process_time()
    assert rules_of(tmp_path) == ["file-too-large"]
    seconds = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 2
    assert peak < 3 * MAX_BYTES


def test_a_file_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"#" * MAX_BYTES)
    assert len(read_file(tmp_path / "f").text) == MAX_BYTES
    (tmp_path / "f").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(Rejected):
        read_file(tmp_path / "f")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_rejected(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content)
    rejection = None
    try:
        read_document(tmp_path)
    except Rejected as caught:
        rejection = caught
    assert rejection is None or render_text(rejection.diagnostics, rejection.sources)


# ---------------------------------------------------------------- overlays

# The cases of RFC 7396, appendix A, under `spec:`.
PATCHES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
    ({"a": {"b": 2}}, {"a": 1}, {"a": 1}),
]


@pytest.mark.parametrize(("target", "patch", "result"), PATCHES, ids=str)
def test_overlays_are_merged_as_json_merge_patches(target: object, patch: object, result: object) -> None:
    flow = {"target": target, "patch": patch}
    texts = {name: str(value).replace("None", "null") for name, value in flow.items()}
    base = parse(SourceText("base", f"spec: {texts['target']}"))
    merged = merge(base, parse(SourceText("overlay", f"{HEADER}spec: {texts['patch']}")))
    assert merged.data == {"spec": result}


def test_overlays_apply_in_the_order_of_their_names_and_keep_their_places(tmp_path: Path) -> None:
    write(tmp_path, BASE.encode())
    write(tmp_path, f"{HEADER}spec:\n  a: 10\n  b: {{c: 20}}\n".encode(), "overlay-1.yaml")
    write(tmp_path, f"{HEADER}spec:\n  a: 100\n  e: null\n".encode(), "overlay-2.yaml")
    write(tmp_path, b"not: [an overlay", "notes.yaml")
    document = read_document(tmp_path)
    assert document.data["spec"] == {"a": 100, "b": {"c": 20, "d": 3}}
    assert document.data["kind"] == "Fleet"
    places = {path: document.span(path) for path in (("spec", "a"), ("spec", "b", "c"), ("spec", "b", "d"))}
    assert [(Path(span.file).name, span.line) for span in places.values()] == [
        ("overlay-2.yaml", 4),
        ("overlay-1.yaml", 5),
        ("fleet.yaml", 5),
    ]
    assert [Path(name).name for name in document.files] == ["fleet.yaml", "overlay-1.yaml", "overlay-2.yaml"]


def test_another_file_is_read_without_overlays(tmp_path: Path) -> None:
    write(tmp_path, BASE.encode(), "other.yaml")
    write(tmp_path, f"{HEADER}spec: {{a: 10}}".encode(), "overlay.yaml")
    assert read_document(tmp_path / "other.yaml").data["spec"]["a"] == 1


@pytest.mark.parametrize(
    ("overlay", "places"),
    [
        pytest.param("spec: {a: 1}", ["1:1", "1:1"], id="no header"),
        pytest.param(
            "apiVersion: fleetc.dev/v1\nkind: Fleet\nspec: {a: 1}", ["2:7"], id="the kind of a base file"
        ),
        pytest.param(f"{HEADER}status: 1\nspec: {{a: 1}}", ["3:1"], id="a section that may not be changed"),
        pytest.param("apiVersion: v1\nkind: FleetOverlay", ["1:13"], id="another version"),
    ],
)
def test_a_file_that_is_no_overlay_is_refused(tmp_path: Path, overlay: str, places: list[str]) -> None:
    write(write(tmp_path, BASE.encode()), overlay.encode(), "overlay.yaml")
    with pytest.raises(Rejected) as caught:
        read_document(tmp_path)
    assert {d.rule for d in caught.value.diagnostics} == {"not-an-overlay"}
    assert [f"{d.span.line}:{d.span.column}" for d in caught.value.diagnostics if d.span] == places


def test_too_many_overlays_are_refused(tmp_path: Path) -> None:
    write(tmp_path, BASE.encode())
    for number in range(33):
        write(tmp_path, HEADER.encode(), f"overlay-{number}.yaml")
    assert rules_of(tmp_path) == ["too-many-values"]
