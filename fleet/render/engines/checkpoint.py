"""Where a checkpoint lies, as an engine names it and as a pod mounts it."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.render.errors import UnrenderablePlan

CLAIM_MOUNT = "/checkpoints"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`model` is the engine's argument; `claim` a PersistentVolumeClaim to mount at `/checkpoints`."""

    model: str
    load_format: str = ""
    claim: str = ""
    needs_hf_token: bool = False


def read_checkpoint(uri: str) -> Checkpoint:
    """Understand a checkpoint's address.

    >>> read_checkpoint("hf://Qwen/Qwen3-32B").model
    'Qwen/Qwen3-32B'
    >>> read_checkpoint("pvc://weights/llama").model
    '/checkpoints/llama'

    Raises:
        UnrenderablePlan: another scheme, or a part is missing.
    """
    scheme, _, rest = uri.partition("://")
    rest = rest.strip("/")
    head, _, tail = rest.partition("/")
    is_plain = (
        rest.isprintable() and " " not in rest and ".." not in rest.split("/") and not rest.startswith("-")
    )
    if scheme == "hf" and is_plain and head and tail and "/" not in tail:
        return Checkpoint(model=rest, needs_hf_token=True)
    if scheme in ("s3", "gs") and is_plain and head and tail:
        return Checkpoint(model=f"{scheme}://{rest}", load_format="runai_streamer")
    if scheme == "pvc" and is_plain and head:
        return Checkpoint(model=f"{CLAIM_MOUNT}/{tail}".rstrip("/"), claim=head)
    raise UnrenderablePlan(
        f"checkpoint {uri!r}: expected hf://organisation/name, s3://bucket/path, gs://bucket/path or pvc://claim/path."
    )
