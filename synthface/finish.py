"""From committed shards to a finished dataset: joined labels, pair lists, indexes, cards, and the manifest last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthface.cards import croissant, dataset_card
from synthface.errors import OutputError
from synthface.manifest import MANIFEST, make_manifest, write_manifest
from synthface.pairs import pair_lists
from synthface.quality.choice import is_choice
from synthface.quality.summary import audit_summary, labels_present, pairs_left
from synthface.shards.labels import join_labels
from synthface.shards.writer import FileRecord, ShardMarker, check_fingerprint, read_marker, sha256_of
from synthface.storage import Store

if TYPE_CHECKING:
    from synthface.job import Job


def finish(store: Store, job: Job, fingerprint: Mapping[str, Any]) -> int:
    """Complete a dataset all of whose shards are committed; returns how many are still missing otherwise.

    Several parts may come here at the same time: one does the work, the others find it done. Running it again writes the
    same bytes.
    """
    with store.lock("finish", patience_s=600.0):
        markers = [read_marker(store, shard.name) for shard in job.plan.shards]
        present = [marker for marker in markers if marker is not None]
        if len(present) < len(markers):
            return len(markers) - len(present)
        for marker in present:
            check_fingerprint(store.url, marker.shard, marker.fingerprint, fingerprint)
        if store.size(MANIFEST) is None or not _is_current(store, present):
            _complete(store, job, present)
        store.clear_staging()
    return 0


def _is_current(store: Store, markers: Sequence[ShardMarker]) -> bool:
    """Whether the manifest speaks of these very shards, and what it lists is there."""
    manifest = json.loads(store.read(MANIFEST))
    shards = [(shard["tar"]["sha256"], shard["labels"]["sha256"]) for shard in manifest["shards"]]
    same = shards == [(marker.tar.sha256, marker.labels.sha256) for marker in markers]
    return same and all(store.size(record["name"]) == record["bytes"] for record in manifest["files"])


def _complete(store: Store, job: Job, markers: Sequence[ShardMarker]) -> None:
    plan, records = job.plan, []
    with store.staging() as folder:
        joined = folder / "labels.parquet"
        rows = join_labels(store, [marker.labels.name for marker in markers], joined)
        expected = sum(marker.count for marker in markers)
        if rows != expected:
            raise OutputError(
                f"{store.url}: the label tables hold {rows} rows, not {expected}; run `synthface verify {store.url}` "
                "to see which shard is damaged"
            )
        present = labels_present(joined) if expected < plan.num_images else None
        quality = _quality(job, joined, plan.num_images - rows)
        records.append(_commit(store, joined, "labels.parquet"))
        for name, content in pair_lists(plan):
            left = content if present is None else pairs_left(content, present)
            if left != content:
                quality.setdefault("pairs", {})[name] = {"asked": _lines(content), "written": _lines(left)}
            records.append(_write(store, folder, f"pairs/{name}.csv", left))
        for split in plan.splits:
            records.append(_write(store, folder, f"data/{split.name}.wids.json", _wids(job, split.name, markers)))
        for name in ("identities.parquet", "spec.yaml", "spec.resolved.yaml"):
            records.append(_record(store, name))
        manifest = make_manifest(
            name=job.spec.name,
            spec_digest=job.spec.digest,
            markers=markers,
            files=records,
            columns=job.columns,
            sample_files=job.sample_files,
            generator=job.generator.describe(),
            counts=_counts(job) if present is None else present.counts(plan),
            part_names=job.info.part_names,
            quality=quality,
        )
        manifest["files"] = [vars(record) for record in records]
        records.append(_write(store, folder, "README.md", dataset_card(manifest).encode()))
        records.append(_write(store, folder, "croissant.json", croissant(manifest)))
        manifest["files"] = [vars(record) for record in sorted(records, key=lambda record: record.name)]
        write_manifest(store, manifest)


def _counts(job: Job) -> dict[str, Any]:
    plan = job.plan
    return {
        "images": plan.num_images,
        "identities": plan.num_identities,
        "splits": {
            s.name: {"images": s.stop - s.start, "identities": s.last_identity - s.first_identity} for s in plan.splits
        },
        "conditions": {s.name: count * plan.num_identities for s, count in zip(plan.strata, plan.counts, strict=True)},
    }


def _quality(job: Job, labels: Path, num_dropped: int) -> dict[str, Any]:
    """What was promised and what was found, where the spec asks for any of it."""
    found: dict[str, Any] = {}
    if job.chosen is not None and is_choice(job.spec):
        found["identities"] = {key: value for key, value in job.chosen.report.items() if key != "recognition"}
    if job.spec.quality.audit is not None:
        found["audit"] = audit_summary(labels, job.spec.quality.audit, num_dropped)
    return found


def _lines(csv: bytes) -> int:
    return csv.count(b"\n") - 1


def _wids(job: Job, split: str, markers: Sequence[ShardMarker]) -> bytes:
    """Index of a split's shards as `wids.ShardListDataset` reads it."""
    shards = [m for m in markers if m.split == split]
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": f"{job.spec.name}-{split}",
        "shardlist": [
            {"url": m.tar.name.removeprefix("data/"), "nsamples": m.count, "filesize": m.tar.bytes} for m in shards
        ],
    }
    return (json.dumps(index, indent=1) + "\n").encode()


def _write(store: Store, folder: Path, name: str, content: bytes) -> FileRecord:
    staged = folder / "file"
    staged.write_bytes(content)
    return _commit(store, staged, name)


def _commit(store: Store, staged: Path, name: str) -> FileRecord:
    record = FileRecord(name, staged.stat().st_size, sha256_of(staged))
    store.commit(staged, name)
    return record


def _record(store: Store, name: str) -> FileRecord:
    import hashlib

    content = store.read(name)
    return FileRecord(name, len(content), hashlib.sha256(content).hexdigest())
