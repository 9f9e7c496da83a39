"""Logistic regression with a ridge: what a score of several signals is fitted by, in training and
on outcome tables.
"""

import numpy as np

from evidence.inputs import FloatArray
from knowgate._models.logistic import sigmoids


def ridge_logistic(x: FloatArray, y: FloatArray, weight: FloatArray, ridge: FloatArray) -> FloatArray:
    """Weights [p] that maximise Σ w·(y log σ + (1 − y) log(1 − σ)) − ½ Σ ridge·β², by damped Newton
    steps.

    Args: x [n, p], y [n] in [0, 1], weight [n], ridge [p] (0 = free). Newton's method as in
    McCullagh & Nelder (1989).

    Examples:
        >>> x = np.column_stack([np.ones(4), [-1.0, -1.0, 1.0, 1.0]])
        >>> ridge_logistic(x, np.array([0.0, 1.0, 1.0, 1.0]), np.ones(4), np.array([0.0,
        ...     1.0])).round(2).tolist()
        [1.18, 0.58]
    """
    beta = np.zeros(x.shape[1])
    ridge = ridge + 1e-9

    def loss(at: FloatArray) -> float:
        eta = x @ at
        return float((weight * (np.logaddexp(0.0, eta) - y * eta)).sum() + 0.5 * (ridge * at**2).sum())

    current = loss(beta)
    for _ in range(100):
        p = sigmoids(x @ beta)
        gradient = x.T @ (weight * (p - y)) + ridge * beta
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(beta)), gradient)
        size = 1.0
        while (reached := loss(beta - size * step)) > current and size > 1e-6:
            size /= 2
        beta, before, current = beta - size * step, current, min(reached, current)
        if before - current < 1e-10 * (1.0 + abs(current)):
            break
    return beta
