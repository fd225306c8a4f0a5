"""The GitOps tree: one object per file, a manifest of what was written, and nothing else touched.

    OUT/.fleet-manifest.json                          path -> sha256, and the version that wrote it
    OUT/clusters/<fleet>/kustomization.yaml
    OUT/clusters/<fleet>/_cluster/<kind>-<name>.yaml  cluster-scoped objects
    OUT/clusters/<fleet>/<namespace>/<kind>-<name>.yaml
    OUT/benchmarks/<fleet>/<deployment>/              the benchmark of a deployment: not under `clusters`, never synced
    OUT/benchmarks/<fleet>/_plan/                     the plan's digest, which every benchmark takes in

Whose file is it? A file is ours when the manifest lists it, or when it holds exactly what we would write. Ours are
brought to the plan: written where their bytes differ, removed where the plan has no such object any more. One that was
edited by hand since is written or removed too, and named in the result: the header says that the plan owns it, the
plan is what was reviewed, and Git keeps what the hand wrote. A file in our way that is not ours is never touched:
all of them are named and nothing is written.

A run that is interrupted can be repeated: the manifest lists the new files before the first of them is written, and
loses the old ones after the last of them is gone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

from fleet.plan.document import FleetPlan
from fleet.plan.file import canonical_json, sha256_hex, write_atomically
from fleet.render.benchmark.job import benchmarks, plan_config
from fleet.render.graph import Resource, ResourceGraph
from fleet.render.identity import dns_label
from fleet.render.yaml_text import manifest_text

MANIFEST = ".fleet-manifest.json"
MANIFEST_FORMAT = "1.0"
KUSTOMIZATION = "kustomization.yaml"
CLUSTERS, BENCHMARKS = "clusters", "benchmarks"
CLUSTER_SCOPED = "_cluster"
BENCHMARK_PLAN = "_plan"

_COMPONENT = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")


class TreeRefused(ValueError):
    """The folder holds something that must not be overwritten; nothing was written."""


@dataclass(frozen=True, slots=True)
class WrittenTree:
    """What a run did, as paths relative to the folder, sorted."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]
    edited_by_hand: tuple[str, ...]  # ours, changed since; written or removed all the same

    @property
    def has_changes(self) -> bool:
        return bool(self.written or self.removed)


def tree_files(plan: FleetPlan, graph: ResourceGraph) -> dict[str, str]:
    """Every file of the tree but the manifest: path to text."""
    root = PurePosixPath(CLUSTERS, dns_label(plan.fleet, 63))
    files = {str(root / _folder(item) / _file_name(item)): manifest_text(item.body) for item in graph}
    folders = sorted({PurePosixPath(path).parent for path in files})
    for folder in folders:
        files[str(folder / KUSTOMIZATION)] = _kustomization(
            PurePosixPath(path).name for path in files if PurePosixPath(path).parent == folder
        )
    files[str(root / KUSTOMIZATION)] = _kustomization(folder.name for folder in folders)
    return dict(sorted((files | _benchmark_files(plan)).items()))


def _benchmark_files(plan: FleetPlan) -> dict[str, str]:
    """The benchmarks, each in a folder that is applied by itself; nothing names them together."""
    found = benchmarks(plan)
    if not found:
        return {}
    root = PurePosixPath(BENCHMARKS, dns_label(plan.fleet, 63))
    groups = {BENCHMARK_PLAN: (plan_config(plan),), **{item.folder: item.resources for item in found}}
    files: dict[str, str] = {}
    for folder, resources in groups.items():
        names = [_file_name(item) for item in resources]
        files |= {str(root / folder / _file_name(item)): manifest_text(item.body) for item in resources}
        shared = [] if folder == BENCHMARK_PLAN else [f"../{BENCHMARK_PLAN}"]
        files[str(root / folder / KUSTOMIZATION)] = _kustomization([*shared, *names])
    return files


def write_tree(plan: FleetPlan, graph: ResourceGraph, out: Path) -> WrittenTree:
    """Bring the folder `out` to the plan. A second run changes no byte and no time stamp.

    Raises:
        TreeRefused: a file in the way is not ours, a path leads through a symbolic link, or the manifest is unreadable.
        OSError: the folder cannot be read or written.
    """
    files = tree_files(plan, graph)
    ours = _read_manifest(out)
    _refuse_another_fleet(ours, files)
    stale = sorted(set(ours) - set(files))
    _refuse_foreign(out, files, ours, stale)
    present = {path: _digest(out / path) for path in [*files, *stale]}
    digests = {path: sha256_hex(text) for path, text in files.items()}
    written = [path for path in files if present[path] != digests[path]]
    removed = [path for path in stale if present[path]]
    edited = [
        path for path in [*written, *removed] if path in ours and present[path] not in (None, ours[path])
    ]
    if written or stale:
        _write_manifest(out, {**ours, **digests})
        for path in written:
            write_atomically(out / path, files[path])
        for path in removed:
            (out / path).unlink()
            _remove_empty_folders(out, (out / path).parent)
    _write_manifest(out, digests)
    unchanged = [path for path in files if path not in written]
    return WrittenTree(tuple(written), tuple(unchanged), tuple(removed), tuple(sorted(edited)))


def _folder(item: Resource) -> str:
    return item.id.namespace or CLUSTER_SCOPED


def _file_name(item: Resource) -> str:
    return f"{item.id.kind.lower()}-{item.id.name}.yaml"


def _kustomization(names: Iterable[str]) -> str:
    return manifest_text(
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": sorted(names)}
    )


def _read_manifest(out: Path) -> dict[str, str]:
    path = out / MANIFEST
    if path.is_symlink():
        raise TreeRefused(f"{MANIFEST} is a symbolic link; the tree must be a folder of its own.")
    if not path.exists():
        return {}
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        listed = {str(name): str(digest) for name, digest in files.items()}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, RecursionError):
        raise TreeRefused(
            f"{MANIFEST} is not readable as fleetc wrote it. Restore it from Git, or remove it together with the tree."
        ) from None
    unsafe = sorted(name for name in listed if not _is_safe(name))
    if unsafe:
        raise TreeRefused(
            f"{MANIFEST} lists {unsafe[0]!r}, which is no path inside the tree. Restore it from Git."
        )
    return listed


def _is_safe(path: str) -> bool:
    """Whether a path stays inside the tree: plain components below `clusters` or `benchmarks`."""
    parts = path.split("/")
    return (
        parts[0] in (CLUSTERS, BENCHMARKS)
        and len(parts) > 1
        and all(_COMPONENT.fullmatch(part) and part not in (".", "..") for part in parts)
    )


def _refuse_another_fleet(ours: Mapping[str, str], files: Mapping[str, str]) -> None:
    """One folder holds one fleet: files of another would be taken for stale ones and removed."""
    [mine] = {PurePosixPath(path).parts[1] for path in files}
    others = sorted({PurePosixPath(path).parts[1] for path in ours} - {mine})
    if others:
        raise TreeRefused(
            f"the folder holds the tree of fleet '{others[0]}', not of '{mine}'. Give each fleet a folder of its own."
        )


def _refuse_foreign(
    out: Path, files: Mapping[str, str], ours: Mapping[str, str], stale: Iterable[str]
) -> None:
    if out.exists() and not out.is_dir():
        raise TreeRefused(f"{out.name} is no folder.")
    for path in [*files, *stale]:
        if not _is_safe(path):
            raise TreeRefused(f"{path!r} is no path inside the tree.")
        _refuse_links(out, path)
    foreign = [
        path
        for path, text in files.items()
        if path not in ours and (out / path).exists() and _digest(out / path) != sha256_hex(text)
    ]
    foreign += [path for path in [*files, *stale] if (out / path).is_dir()]
    if foreign:
        raise TreeRefused(
            "these are in the way and were not written by fleetc: "
            + ", ".join(sorted(set(foreign)))
            + ". Move them, or render into another folder."
        )


def _refuse_links(out: Path, path: str) -> None:
    """Refuse a path with a symbolic link or a file where a folder should be: writing would leave the tree."""
    step = out
    parts = path.split("/")
    for number, part in enumerate(parts):
        step = step / part
        if step.is_symlink():
            raise TreeRefused(
                f"{'/'.join(parts[: number + 1])} is a symbolic link; fleetc writes only inside the tree."
            )
        if number < len(parts) - 1 and step.exists() and not step.is_dir():
            raise TreeRefused(f"{'/'.join(parts[: number + 1])} is a file where a folder must be.")


def _digest(path: Path) -> str | None:
    return sha256_hex(path.read_bytes()) if path.is_file() else None


def _write_manifest(out: Path, digests: Mapping[str, str]) -> None:
    text = canonical_json(
        {"files": dict(digests), "format_version": MANIFEST_FORMAT, "generator": f"fleetc {_own_version()}"}
    )
    if _digest(out / MANIFEST) != sha256_hex(text):
        write_atomically(out / MANIFEST, text)


def _own_version() -> str:
    try:
        return version("fleetc")
    except PackageNotFoundError:
        return "from a checkout"


def _remove_empty_folders(out: Path, folder: Path) -> None:
    while folder != out and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
