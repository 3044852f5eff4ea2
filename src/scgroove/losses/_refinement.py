r"""Which cell of a label belongs to which: optimal transport inside labels, while training.

GroupCLIP says which label a cell belongs to, and nothing of the cells inside it. Reference: entropic optimal transport is that of Cuturi
2013, arXiv 1306.0895.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ._similarity import full_precision

Refinement = Literal["cost", "contrast"]


def label_refinement(
    z: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    *,
    kind: Refinement = "cost",
    epsilon: float = 0.1,
    n_iter: int = 50,
    temperature: float | Tensor = 0.1,
    centred: bool = True,
) -> Tensor:
    r"""Pull together the cells that a transport plan inside their label gives to one another.

    In each label and pair of modalities, with :math:`C_{ij} = 1 - \cos(z_i, z_j)` and :math:`\bar C` its mean over the cells of the label,

    .. math:: P = \arg\min_{P \mathbf 1 = 1/n,\, P^\top \mathbf 1 = 1/m} \langle P, C / \bar C \rangle - \epsilon H(P)

    is computed without a gradient. ``"cost"`` returns :math:`\sum_{ij} P_{ij} C_{ij} / \bar C` with :math:`\bar C` fixed; ``"contrast"``
    the cross-entropy of the rows and columns of the plan, as probabilities, against the softmax of the similarities inside the
    label over the temperature. Mean over labels, then over pairs of modalities.

    Parameters
    ----------
    z
        Embeddings by modality, shapes (n_m, k).
    labels
        Label codes by modality, shapes (n_m,); negative: takes no part, as do labels with a single cell in either modality.
    kind
        ``"cost"`` or ``"contrast"``.
    epsilon
        Of the entropy, for a cost of mean one.
    n_iter
        Sinkhorn iterations.
    temperature
        Of ``"contrast"``.
    centred
        Take the mean of the label off the embeddings of each modality first: what effects on one modality alone move apart.

    Returns
    -------
    Scalar. Zero, with a graph, if no label has two cells in two modalities.

    Raises
    ------
    ValueError
        Unknown kind.

    Notes
    -----
    Where several processes train together, each takes the cells it holds.
    """
    if kind not in get_args(Refinement):
        raise ValueError(f"Unknown refinement {kind!r}. Expected one of {get_args(Refinement)}.")
    terms = []
    for source, target in combinations(z, 2):
        x, y = (
            _by_label(z[source], labels[source], labels[target]),
            _by_label(z[target], labels[target], labels[source]),
        )
        if len(x.cells):
            with torch.autocast(device_type=x.cells.device.type, enabled=False):
                terms.append(_one_pair(x, y, kind, epsilon, n_iter, temperature, centred))
    if not terms:
        return sum((full_precision(v).sum() * 0.0 for v in z.values()), start=torch.zeros(()))
    return torch.stack(terms).mean()


class _Padded(NamedTuple):
    """Cells in rows of labels: (n_labels, most, k), and which of them there are, (n_labels, most)."""

    cells: Tensor
    there: Tensor


def _by_label(z: Tensor, own: Tensor, other: Tensor) -> _Padded:
    """Cells of the labels with two cells on both sides, in the order of their codes."""
    n_codes = int(torch.cat([own, other]).max()) + 1 if len(own) and len(other) else 0
    counts = [torch.bincount(c[c >= 0], minlength=max(n_codes, 1)) for c in (own, other)]
    codes = ((counts[0] > 1) & (counts[1] > 1)).nonzero().squeeze(1)
    row_of = torch.full((max(n_codes, 1) + 1,), -1, device=z.device)  # the last: no label
    row_of[codes] = torch.arange(len(codes), device=z.device)
    row = row_of[own]
    order = row.argsort(stable=True)
    order = order[row[order] >= 0]
    row, sizes = row[order], counts[0][codes]
    most = int(sizes.max()) if len(codes) else 0
    column = torch.arange(len(order), device=z.device) - (sizes.cumsum(0) - sizes)[row]
    place = row * most + column
    empty = z.new_zeros((len(codes) * most, z.shape[1]), dtype=full_precision(z).dtype)
    cells = empty.index_copy(0, place, full_precision(z[order]))
    there = torch.zeros(len(codes) * most, dtype=torch.bool, device=z.device).index_fill(0, place, True)
    return _Padded(cells.view(len(codes), most, z.shape[1]), there.view(len(codes), most))


def _one_pair(
    x: _Padded,
    y: _Padded,
    kind: Refinement,
    epsilon: float,
    n_iter: int,
    temperature: float | Tensor,
    centred: bool,
) -> Tensor:
    a, b = (_centred(v) for v in (x, y)) if centred else (x.cells, y.cells)
    likeness = F.normalize(a, dim=2) @ F.normalize(b, dim=2).mT
    there = x.there[:, :, None] & y.there[:, None, :]
    cost = (1 - likeness) * there
    scaled = cost / (cost.detach().sum((1, 2)) / there.sum((1, 2))).clamp_min(1e-8)[:, None, None]
    plan = batched_plans(scaled.detach(), x.there, y.there, epsilon, n_iter)
    if kind == "cost":
        return (plan * scaled).sum((1, 2)).mean()
    logits = (likeness / temperature).masked_fill(~there, -1e4)
    of_rows = -(plan * logits.log_softmax(2)).sum((1, 2))
    of_columns = -(plan * logits.log_softmax(1)).sum((1, 2))
    return (of_rows + of_columns).mean() / 2


def _centred(v: _Padded) -> Tensor:
    n = v.there.sum(1)[:, None, None]
    return (v.cells - v.cells.sum(1, keepdim=True) / n) * v.there[:, :, None]


@torch.no_grad()
def batched_plans(cost: Tensor, rows: Tensor, columns: Tensor, epsilon: float, n_iter: int) -> Tensor:
    """Entropic transport plans of many small problems at once, of uniform marginals.

    Parameters
    ----------
    cost
        Non-negative costs of about one, shape (n_problems, n, m).
    rows, columns
        Which rows and columns a problem has, shapes (n_problems, n) and (n_problems, m).
    epsilon
        Weight of the entropy.
    n_iter
        Sinkhorn iterations; columns are met exactly.

    Returns
    -------
    Plans of shape (n_problems, n, m), of mass one each.
    """
    there = rows[:, :, None] & columns[:, None, :]
    # the least cost of a row off that row changes its scaling and not the plan, and keeps the kernel from vanishing
    least = cost.masked_fill(~there, torch.inf).amin(2, keepdim=True).nan_to_num(posinf=0.0)
    kernel = torch.exp((least - cost) / epsilon) * there
    a = (rows / rows.sum(1, keepdim=True))[:, :, None].to(cost.dtype)
    b = (columns / columns.sum(1, keepdim=True))[:, :, None].to(cost.dtype)
    v = columns[:, :, None].to(cost.dtype)
    for _ in range(n_iter):
        u = a / (kernel @ v).clamp_min(1e-30)
        v = b / (kernel.mT @ u).clamp_min(1e-30)
    return u * kernel * v.mT
