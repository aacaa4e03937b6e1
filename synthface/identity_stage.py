"""The identity stage of a dataset: who is in it, written once, before any shard.

Where identities must be apart or balanced they are chosen first (`quality.choice`). What has been described on the way lies in
`identities/` until the table is committed, so that a killed run goes on. The table's hash is in every shard's marker.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synthface.errors import IdentityError, OutputMismatchError
from synthface.identities import ChosenIdentities, identity_batches, identity_digest, identity_schema, read_chosen
from synthface.plan import make_plan
from synthface.quality.canonical import LOOK, SIZE_PX, generator_kind, recognition_digest
from synthface.quality.choice import choose, is_choice, needs_descriptors
from synthface.shards.writer import sha256_of_stream
from synthface.storage import LOCK_PATIENCE_S, Store

if TYPE_CHECKING:
    from synthface.job import Job
    from synthface.pipeline import Progress

TABLE, PARTS = "identities.parquet", "identities/"
#: How long another part of the same job array may take to choose.
_CHOOSING_S = 7 * 24 * 3600.0


def commit_identities(
    store: Store, job: Job, *, workers: int = 1, on_progress: Callable[[Progress], None] = lambda progress: None
) -> tuple[Job, str]:
    """Write the spec and `identities.parquet`, once, before any shard.

    Returns:
        The job, its plan laid out for the identities in the table, and the table's SHA-256.

    Raises:
        OutputMismatchError: the folder holds the dataset of another spec.
        IdentityError: no identities are as the spec wants them.
    """
    resolved = job.spec.to_yaml().encode()
    with store.lock("identities", patience_s=_CHOOSING_S if is_choice(job.spec) else LOCK_PATIENCE_S):
        if store.size("spec.resolved.yaml") is not None and (found := store.read("spec.resolved.yaml")) != resolved:
            raise OutputMismatchError(
                f"{store.url}: holds the dataset of another spec ({_difference(found, resolved)}); "
                "give another --out, or delete that folder if it is no longer wanted"
            )
        if store.size(TABLE) is None:
            chosen = choose_for(job, store=store, workers=workers, on_progress=on_progress)
            _write_table(store, chosen_job(job, chosen), chosen)
        for name in store.names(PARTS):
            store.remove(name)
        given = job.spec.source.text
        store.write("spec.yaml", given.encode() if given is not None else resolved)
        store.write("spec.resolved.yaml", resolved)
    if is_choice(job.spec) or needs_descriptors(job.spec):
        job = chosen_job(job, read_chosen(store.read(TABLE)))
    with store.open(TABLE) as file:
        return job, sha256_of_stream(file)


def choose_for(
    job: Job,
    *,
    count: int | None = None,
    store: Store | None = None,
    workers: int = 1,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> ChosenIdentities | None:
    """The identities that the spec asks to be chosen; None where it takes them as they come.

    Args:
        job: the spec met with its generator.
        count: how many; None is what the spec asks for.
        store: where parts are kept; None keeps none.
        workers: processes.
        on_progress: told after every few draws.
    """
    if not is_choice(job.spec) and not needs_descriptors(job.spec):
        return None
    parts = _StoredParts(store, job) if store is not None and needs_descriptors(job.spec) else None
    return choose(job, count=count, workers=workers, parts=parts, on_progress=on_progress)


def chosen_job(job: Job, chosen: ChosenIdentities | None) -> Job:
    """The job with its plan laid out for these identities.

    Raises:
        IdentityError: a split would get nobody.
    """
    if chosen is None:
        return job
    if not is_choice(job.spec):
        return dataclasses.replace(job, chosen=chosen)
    plan = job.plan
    persons = chosen.persons
    plan = make_plan(plan.spec, plan.layout, tile_size=job.info.tile_size, reused=plan.reused, persons=persons)
    empty = [name for name in job.spec.splits if name not in {split.name for split in plan.splits}]
    if empty and len(chosen) < job.spec.identities.count:
        raise IdentityError(
            f"{job.spec.name}: only {len(chosen)} of {job.spec.identities.count} identities could be found, so the split "
            f"{empty[0]!r} gets nobody; lower identities.min_distance, or raise max_tries"
        )
    return dataclasses.replace(job, plan=plan, chosen=chosen)


def _write_table(store: Store, job: Job, chosen: ChosenIdentities | None) -> None:
    import pyarrow.parquet as pq

    layout = job.info.layout
    splits = [(s.name, s.first_identity, s.last_identity) for s in job.plan.splits]
    with store.staging() as folder:
        path = folder / TABLE
        with pq.ParquetWriter(path, identity_schema(layout, chosen), compression="zstd") as writer:
            for batch in identity_batches(job.spec, layout, splits, job.plan.reused, chosen):
                writer.write_batch(batch)
        store.commit(path, TABLE)


class _StoredParts:
    """Described blocks as files below `identities/`, each saying what it was made from."""

    def __init__(self, store: Store, job: Job) -> None:
        self._store = store
        made_from = {
            "identities": identity_digest(job.spec, job.info.layout, job.plan.reused),
            "noise": job.spec.factors.noise.per,
            "generator": generator_kind(job.generator) | {"truncation": vars(job.spec.truncation)},
            "recognition": recognition_digest(job.recognition),
            "standard_picture": [SIZE_PX, LOOK],
        }
        self._digest = hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()

    def load(self, number: int, persons: npt.NDArray[np.int64]) -> npt.NDArray[np.float32] | None:
        """The raw descriptors of a block, or None."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            part = load(self._store.read(self._name(number)))
        except (FileNotFoundError, SafetensorError):
            return None
        is_this = part["made_from"].tobytes().hex() == self._digest and np.array_equal(part["persons"], persons)
        return part["descriptors"] if is_this else None

    def save(self, number: int, persons: npt.NDArray[np.int64], descriptors: npt.NDArray[np.float32]) -> None:
        """Commit a block."""
        from safetensors.numpy import save

        made_from = np.frombuffer(bytes.fromhex(self._digest), np.uint8)
        content = save({"made_from": made_from, "persons": persons, "descriptors": descriptors})
        self._store.write(self._name(number), content)

    def _name(self, number: int) -> str:
        return f"{PARTS}{number:06d}.safetensors"


def _difference(theirs: bytes, ours: bytes) -> str:
    """The first line that differs."""
    pairs = zip(theirs.decode(errors="replace").splitlines(), ours.decode().splitlines(), strict=False)
    there, here = next(((a.strip(), b.strip()) for a, b in pairs if a != b), ("shorter", "longer"))
    return f"there: {there!r}, here: {here!r}"
