"""How the network has been shared out among the tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from cotasp.dictionaries.diagnostics import alignment, jaccard
from cotasp.modules.ownership import Ownership


def allocation_facts(
    ownership: Ownership, embeddings: Tensor, hidden: Sequence[int], owners: Sequence[int]
) -> dict[str, Any]:
    """Capacity, overlap of masks and of texts, over finished tasks; JSON-able.

    Args:
        ownership: masks of finished tasks.
        embeddings: [n_tasks, m], unit rows.
        hidden: widths of the layers.
        owners: number of the task that each goes on with, or its own.

    Returns:
        capacity_used: fraction of each layer's neurons that some task uses.
        mask_overlap: Jaccard index of two tasks' masks, task x task.
        text_similarity: cosine of two tasks' texts, task x task.
        alignment: rank correlation of the two over pairs, None with fewer than three tasks.
    """
    finished = [i for i, owner in enumerate(owners) if owner in ownership.shares]
    masks = ownership.masks.cpu()[[owners[i] for i in finished]]
    embeddings = embeddings[finished]
    aligned = alignment(embeddings, masks)
    return {
        "capacity_used": [float(units.float().mean()) for units in ownership.owned.split(hidden)],
        "mask_overlap": jaccard(masks[:, None], masks[None]).tolist(),
        "text_similarity": (embeddings @ embeddings.T).tolist(),
        "alignment": aligned if math.isfinite(aligned) else None,
    }
