"""Multinomial logistic regression in a fixed number of passes over the data.

Several models are fitted at once, each without one fold of the rows and the
last one on all, so that every row has probabilities of a model that has not
seen it. Everything is NumPy in float64 except for the products with rows.
"""

import numpy as np

from tensorflow_model_remediation_ext.leace.variation import inverted

# Passes over the data. The preconditioner makes them enough: on embeddings of
# 384 features ten leave a relative 1e-4 of the loss.
STEPS = 12
FOLDS = 3
_MEMORY = 8


class LogisticModels:
    """`FOLDS + 1` regressions, of standardized features, fitted together.

    The method is L-BFGS, preconditioned by the bound of the Hessian of Böhning
    (1992), which the covariance of the features gives. A step that does not
    lower the loss is taken back, and the step of the bound, which never raises
    it, taken instead.

    Args:
        mean: `[d]`, of the features.
        scale: `[d]`, their standard deviations; zero for constant ones.
        sigma: `[d, d]`, their covariance.
        n: Sum of the rows' weights.
        num_classes: Number of classes.
        penalty: Factor of half the squared coefficients, in rows.

    References:
        Böhning 1992, "Multinomial logistic regression algorithm"; Nocedal
        1980, "Updating quasi-Newton matrices with limited storage".
    """

    def __init__(
        self,
        mean: np.ndarray,
        scale: np.ndarray,
        sigma: np.ndarray,
        n: float,
        num_classes: int,
        penalty: float,
    ):
        self._mean, self._penalty = mean, penalty
        self._inverse = inverted(scale)
        bound = sigma * self._inverse * self._inverse[:, None] * (n / 2)
        bound[np.diag_indices_from(bound)] += penalty
        self._bound = np.linalg.inv(bound)
        self._bias_bound = n / 2
        shape = (FOLDS + 1, len(mean) + 1, num_classes)
        # The last row of each model is the bias.
        self._best = self._trial = np.zeros(shape)
        self._loss = np.full(FOLDS + 1, np.inf)
        self._gradient: np.ndarray | None = None
        self._steps: list[np.ndarray] = []
        self._changes: list[np.ndarray] = []
        self._start()

    def _start(self):
        self._sum_loss = np.zeros(FOLDS + 1)
        self._sum_gradient = np.zeros_like(self._best)

    def add(
        self,
        x: np.ndarray,
        z: np.ndarray,
        weight: np.ndarray,
        fold: np.ndarray,
    ) -> None:
        """Adds `[n, d]` rows, their class ids, weights and folds to a pass."""
        rows = self._standard(x)
        logits = self._logits(rows, self._trial)
        top = logits.max(axis=2, keepdims=True)
        p = np.exp(logits - top)
        total = p.sum(axis=2, keepdims=True)
        p /= total
        index = np.arange(len(z))
        loss = (np.log(total) + top)[..., 0] - logits[:, index, z]
        p[:, index, z] -= 1
        # Each model leaves one fold out, the last one none.
        weights = weight * (fold != np.arange(FOLDS + 1)[:, None])
        self._sum_loss += (weights * loss).sum(axis=1)
        p *= weights[..., None]
        wide = np.moveaxis(p, 0, 1).reshape(len(z), -1)
        products = rows.T @ wide.astype(x.dtype)
        self._sum_gradient[:, :-1] += np.moveaxis(
            products.reshape(-1, FOLDS + 1, p.shape[2]), 1, 0
        )
        self._sum_gradient[:, -1] += p.sum(axis=1)

    def step(self) -> None:
        """Ends a pass: judges what was tried, and tries the next."""
        loss = self._sum_loss + self._penalty / 2 * np.square(
            self._trial[:, :-1]
        ).sum((1, 2))
        gradient = self._sum_gradient
        gradient[:, :-1] += self._penalty * self._trial[:, :-1]
        self._start()
        better = loss <= self._loss
        if self._gradient is None:
            self._gradient, self._loss = gradient, loss
        else:
            kept = better[:, None, None]
            self._steps.append(np.where(kept, self._trial - self._best, 0))
            self._changes.append(np.where(kept, gradient - self._gradient, 0))
            del self._steps[:-_MEMORY], self._changes[:-_MEMORY]
            self._best = np.where(kept, self._trial, self._best)
            self._gradient = np.where(kept, gradient, self._gradient)
            self._loss = np.where(better, loss, self._loss)
        safe = self._precondition(self._gradient)
        fast = self._two_loops(self._gradient)
        direction = np.where(better[:, None, None], fast, safe)
        self._trial = self._best - direction

    def _precondition(self, gradient):
        models, rows, classes = gradient.shape
        columns = np.moveaxis(gradient[:, :-1], 0, 1).reshape(rows - 1, -1)
        solved = self._bound @ columns
        result = np.empty_like(gradient)
        result[:, :-1] = np.moveaxis(
            solved.reshape(rows - 1, models, classes), 1, 0
        )
        result[:, -1] = gradient[:, -1] / self._bias_bound
        return result

    def _two_loops(self, gradient):
        """The direction of L-BFGS, model by model."""
        pairs = []
        for step, change in zip(self._steps, self._changes, strict=True):
            curvature = _dot(step, change)
            fine = curvature > 1e-12 * _dot(step, step)
            rho = np.where(fine, 1 / np.where(fine, curvature, 1), 0)
            pairs.append((step, change, rho))
        direction, factors = gradient.copy(), []
        for step, change, rho in reversed(pairs):
            factors.append(rho * _dot(step, direction))
            direction -= factors[-1][:, None, None] * change
        direction = self._precondition(direction)
        if pairs:
            step, change, rho = pairs[-1]
            curved = _dot(change, self._precondition(change))
            scale = np.where(rho > 0, 1 / np.maximum(rho * curved, 1e-300), 1)
            direction *= scale[:, None, None]
        for (step, change, rho), factor in zip(
            pairs, reversed(factors), strict=True
        ):
            again = rho * _dot(change, direction)
            direction += (factor - again)[:, None, None] * step
        return direction

    def held_out(self, x: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """`[n, classes]` probabilities of the models without a row's fold."""
        logits = self._logits(self._standard(x), self._best)
        logits = logits[fold, np.arange(len(x))]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def _standard(self, x):
        return (x - self._mean.astype(x.dtype)) * self._inverse.astype(x.dtype)

    def _logits(self, rows, models):
        wide = np.moveaxis(models[:, :-1], 0, 1).reshape(rows.shape[1], -1)
        logits = (rows @ wide.astype(rows.dtype)).astype(np.float64)
        logits = logits.reshape(len(rows), FOLDS + 1, -1)
        return np.moveaxis(logits, 1, 0) + models[:, -1][:, None]

    @property
    def kernel(self) -> np.ndarray:
        """`[d, classes]` coefficients of the centered features, of all rows."""
        return self._best[-1, :-1] * self._inverse[:, None]

    @property
    def bias(self) -> np.ndarray:
        """`[classes]`, of all rows."""
        return self._best[-1, -1]


def _dot(a, b):
    return np.einsum("mdk,mdk->m", a, b)


def hashes(x: np.ndarray) -> np.ndarray:
    """`[n]` uint64 of what is in the rows of `[n, d]` float32 or float64."""
    # Zero has two signs.
    bits = np.ascontiguousarray(x + 0.0).view(f"u{x.dtype.itemsize}")
    rng = np.random.default_rng(0)
    odd = rng.integers(2**63, size=x.shape[1], dtype=np.uint64) * 2 + 1
    hashed = (bits.astype(np.uint64) * odd).sum(axis=1, dtype=np.uint64)
    hashed ^= hashed >> np.uint64(31)
    hashed *= np.uint64(0xBF58476D1CE4E5B9)
    hashed ^= hashed >> np.uint64(29)
    return hashed


def folds(hashed: np.ndarray) -> np.ndarray:
    """Folds of rows by their `hashes`, whatever their order.

    Equal rows are in one fold, so that none is held out from its double.
    """
    return (hashed % np.uint64(FOLDS)).astype(np.int64)
