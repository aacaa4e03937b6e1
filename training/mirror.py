"""Mirrored copies of what training holds: λ tables, and λ vectors in torch. What mirroring means: `factors.mirror`."""

from __future__ import annotations

import torch
from torch import Tensor

from synthface.factors.mirror import Mirror
from synthface.networks.mapping import LambdaSizes
from training.lambda_table import LambdaTable

#: Ends the keys of mirrored rows.
SUFFIX = "-mirrored"


def mirrored_table(table: LambdaTable, mirror: Mirror) -> LambdaTable:
    """λ of the flipped photos, row by row; a pack that holds both trains G on both."""
    columns = {name: mirror.part(name, values) for name, values in table.columns.items()}
    return LambdaTable(
        tuple(key + SUFFIX for key in table.keys), columns, table.expression_names, table.morphable_model
    )


def mirror_matrix(mirror: Mirror, sizes: LambdaSizes) -> Tensor:
    """M (total, total), float32: `vector @ M` is λ of the flipped pictures of vectors (N, total)."""
    matrix = torch.zeros(sizes.total, sizes.total)
    for name, place in sizes.parts.items():
        matrix[place, place] = torch.from_numpy(mirror.matrices[name].T).float()
    return matrix
