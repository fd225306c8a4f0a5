"""Rules about files and about the part of YAML that is allowed in them."""

from __future__ import annotations

from fleet.diagnostics import register

FILE_NOT_FOUND = register(
    "file-not-found",
    what="No file stands at the path that was given.",
    why="A stack is a folder with a fleet.yaml; without it there is nothing to compile.",
    fix="Give the folder that holds fleet.yaml, or the path of the file itself.",
)
NOT_A_FILE = register(
    "not-a-file",
    what="The path leads to a folder, a device or a pipe where a plain file is needed.",
    why="Only a plain file has a size that can be checked before it is read.",
    fix="Give the path of a plain file.",
)
FILE_NOT_READABLE = register(
    "file-not-readable",
    what="The operating system refuses to read the file.",
    why="Its contents are needed, and nothing is assumed in their place.",
    fix="Give yourself the right to read the file.",
)
FILE_TOO_LARGE = register(
    "file-too-large",
    what="The file is larger than a file of its kind may be.",
    why="A fleet of a hundred workloads takes a few hundred kilobytes; a far larger file is a mistake, and reading it would take all memory.",
    fix="Check that this is the file you meant.",
)
NOT_UTF_8 = register(
    "not-utf-8",
    what="The file holds bytes that are not UTF-8 text.",
    why="Bytes in another encoding would be read as other characters than you see in your editor.",
    fix="Save the file as UTF-8.",
)
CONTROL_CHARACTER = register(
    "control-character",
    what="The file holds a character that YAML does not allow, such as NUL or an escape.",
    why="Such characters come with binary files and from damaged copies, and no editor shows them.",
    fix="Delete the character, or check that this is a text file.",
)
EMPTY_FILE = register(
    "empty-file",
    what="The file has no value in it: it is empty, or has comments only.",
    why="There is nothing to compile.",
    fix="Start from the file that `fleetc init` writes.",
)
NOT_A_MAPPING = register(
    "not-a-mapping",
    what="The top of the file is a list or a single value where names with values are needed.",
    why="Every setting is found by its name.",
    fix="Begin the file with `apiVersion: fleetc.dev/v1`; a space is needed after each colon.",
)
YAML_SYNTAX = register(
    "yaml-syntax",
    what="The text is not well-formed YAML.",
    why="What is not well-formed can be read in more than one way.",
    fix="Correct the line shown; the fault may also stand on the line before it.",
)
TAB_IN_INDENTATION = register(
    "tab-in-indentation",
    what="A line is indented with a tab.",
    why="YAML counts spaces only, because tabs have no agreed width.",
    fix="Replace the tab by spaces.",
)
DUPLICATE_KEY = register(
    "duplicate-key",
    what="The same name appears twice in one mapping.",
    why="Most YAML readers silently keep the last of the two, which is seldom the one meant.",
    fix="Keep one of the two.",
)
YAML_ALIAS = register(
    "yaml-alias",
    what="The file uses an anchor (&name) or an alias (*name).",
    why="Every value has to have one place that a message and a review can point to, and expanded aliases can fill all memory.",
    fix="Write the value out where it is used, or give it a name in `models` or `slos` and refer to that.",
)
YAML_MERGE_KEY = register(
    "yaml-merge-key",
    what="The file uses the merge key `<<`.",
    why="It was never part of the YAML standard, and readers differ in which value wins.",
    fix="Write the merged values out.",
)
YAML_TAG = register(
    "yaml-tag",
    what="A value has an explicit tag such as !!str or !!python/object.",
    why="Tags change the type of a value, and some YAML readers run code for them; the type follows from the field here.",
    fix="Remove the tag; put the value in quotes if it is meant as text.",
)
KEY_NOT_TEXT = register(
    "key-not-text",
    what="A list or a mapping stands where a name is needed.",
    why="Every setting is found by its name.",
    fix="Write a plain name before the colon.",
)
SECOND_DOCUMENT = register(
    "second-document",
    what="The file holds more than one YAML document, separated by `---`.",
    why="One file says one thing; which of the documents is meant would be a guess.",
    fix="Move the second document to a file of its own, or remove the `---`.",
)
NESTING_TOO_DEEP = register(
    "nesting-too-deep",
    what="Values are nested deeper than any fleet file needs.",
    why="No field lies deeper than a dozen levels; deeper nesting is a mistake or an attack.",
    fix="Flatten the value shown.",
)
TOO_MANY_VALUES = register(
    "too-many-values",
    what="The file holds more values than any fleet file needs.",
    why="Time and memory are bounded by it; a fleet of a hundred workloads has about ten thousand values.",
    fix="Move data out of the file, for example into a trace file.",
)
NOT_AN_OVERLAY = register(
    "not-an-overlay",
    what="An overlay file does not say that it is one, or holds more than `metadata` and `spec`.",
    why="An overlay changes what will be bought; a file that lies beside the stack by accident must not.",
    fix="Begin the overlay with `apiVersion: fleetc.dev/v1` and `kind: FleetOverlay`, then `spec:`.",
)
