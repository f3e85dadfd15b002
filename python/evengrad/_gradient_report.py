"""What `check_gradients` returns."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class TensorReport:
    """What was found for one tensor.

    Parameters
    ----------
    shape : tuple of int
    precision : str
        "float64" or "float32".
    checked, kinks : int
        Elements, and those of them where a kink was near.
    error : float
        Largest difference, as a share of the largest gradient of the tensor, or of a twentieth of
        that of all tensors, if that is larger.
    index : tuple of int
        Where that is.
    expected, got : float
        There: the finite difference and the gradient.

    Examples
    --------
    >>> from evengrad import layers, utils
    >>> utils.check_gradients(layers.Dense(3)).tensors["inputs"].shape
    (5, 6)
    """

    shape: tuple[int, ...]
    precision: str
    checked: int
    kinks: int
    error: float
    index: tuple[int, ...]
    expected: float
    got: float


@dataclasses.dataclass(frozen=True, repr=False)
class GradientReport:
    """What `check_gradients` found where all is right.

    Parameters
    ----------
    who : str
        What was checked.
    tensors : dict of TensorReport
        By name: "inputs" ("y_pred", "weights") and the paths of variables.

    Attributes
    ----------
    error : float
        The largest of their errors.

    Examples
    --------
    >>> from evengrad import losses, utils
    >>> utils.check_gradients(losses.MeanSquaredError()).error < 1e-4
    True
    """

    who: str
    tensors: dict[str, TensorReport]

    @property
    def error(self) -> float:
        """Largest relative error of all tensors."""
        return max((t.error for t in self.tensors.values()), default=0.0)

    def __repr__(self) -> str:
        rows = [("tensor", "shape", "checked", "largest relative error", "at")]
        for name, t in self.tensors.items():
            near = f" ({t.kinks} near a kink)" if t.kinks else ""
            error = f"{t.error:.1e} in {t.precision}"
            rows.append((name, str(t.shape), f"{t.checked}{near}", error, str(list(t.index))))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)) for row in rows)
        body = "\n".join(line.rstrip() for line in lines)
        return f"{self.who}: the gradients are those of finite differences\n{body}"
