"""Labeled Gromov-Wasserstein as released code solves it: one dense matrix, infinite cost between labels.

The same problem, start, annealing, tolerances and inner solver as ``egw``, so that what differs is only that nothing is
done in blocks. Costs have rank d + 2 and are multiplied by their factors, as in ott-jax, never as n x n matrices.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from scgroove.aligners._descent import LOOSE, annealing_path
from scgroove.aligners._problem import Problem
from scgroove.aligners._sinkhorn import sinkhorn
from scgroove.aligners.costs import FixedCost


def factors(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return U, U' with U U'^T the squared distances divided by their mean."""
    x = x - x.mean(axis=0)
    lengths, ones = (x**2).sum(axis=1, keepdims=True), np.ones((len(x), 1))
    left, right = np.hstack([lengths, ones, -2 * x]), np.hstack([ones, lengths, x])
    return left / (left.mean(axis=0) @ right.mean(axis=0)), right


def squared_dot(left: np.ndarray, right: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return (C o C) p."""
    return ((left @ ((right * p[:, None]).T @ right)) * left).sum(axis=1)


def masked_gromov(
    x: np.ndarray,
    y: np.ndarray,
    labels_x: np.ndarray,
    labels_y: np.ndarray,
    epsilon: float,
    *,
    anneal: bool = True,
    tol: float = 1e-5,
    tol_outer: float = 1e-4,
    max_outer: int = 500,
    max_iter: int = 10000,
) -> np.ndarray:
    """Return the dense (n, m) coupling; every label has the mean of its shares on both sides."""
    same = labels_x[:, None] == labels_y
    a, b = masses(labels_x, labels_y)
    (left, right), (left_y, right_y) = factors(x), factors(y)
    constant = 2 * squared_dot(left, right, a)[:, None] + 2 * squared_dot(left_y, right_y, b)
    plan = np.where(same, a[:, None] * b, 0.0)
    plan *= (a / plan.sum(axis=1))[:, None]
    start = k = right.T @ plan @ right_y
    f, g = np.zeros_like(a), np.zeros_like(b)
    path = annealing_path(epsilon) if anneal else [epsilon]
    for eps in path:
        last = eps == epsilon
        for _ in range(max_outer):
            cost = constant - 4 * (left @ k) @ left_y.T
            cost[~same] = np.inf
            solved = sinkhorn(
                Problem(FixedCost(cost), a, b, eps, f, g),
                tol=tol if last else LOOSE,
                max_iter=max_iter,
            )
            f, g = solved.f, solved.g
            new = right.T @ solved.plan @ right_y
            moved = max(np.linalg.norm(new - start), 1e-9 * np.linalg.norm(new))
            change, k = np.linalg.norm(new - k) / moved, new
            if change <= (tol_outer if last else LOOSE):
                break
    cost = constant - 4 * (left @ k) @ left_y.T
    cost[~same] = np.inf
    return sinkhorn(Problem(FixedCost(cost), a, b, epsilon, f, g), tol=tol, max_iter=max_iter).plan


def masses(labels_x: np.ndarray, labels_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the masses of the cells: labels have the mean of their shares."""
    names = np.unique(labels_x)
    n, m = (np.array([(labels == name).sum() for name in names]) for labels in (labels_x, labels_y))
    mass = (n / n.sum() + m / m.sum()) / 2
    return (mass / n)[np.searchsorted(names, labels_x)], (mass / m)[
        np.searchsorted(names, labels_y)
    ]


def energy(x: np.ndarray, y: np.ndarray, plan: np.ndarray) -> float:
    """Return sum_ijkl (C_ik - D_jl)^2 T_ij T_kl by dense matrices: a check, for small problems."""
    c, d = cdist(x, x, "sqeuclidean"), cdist(y, y, "sqeuclidean")
    c, d = c / c.mean(), d / d.mean()
    p, q = plan.sum(axis=1), plan.sum(axis=0)
    return float(p @ c**2 @ p + q @ d**2 @ q - 2 * np.vdot(c @ plan @ d, plan))
