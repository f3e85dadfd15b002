"""gradcheck accepts right gradients of float32 code and rejects slightly wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcheck import assert_gradients

RNG = np.random.Generator(np.random.PCG64(30))


class Network:
    """sum c f(x w + b), in float32 but for the last sum."""

    def __init__(self, f: Any, slope: Any) -> None:
        self.f, self.slope = f, slope
        self.x, self.w, self.b, self.c = (
            RNG.standard_normal(shape, dtype=np.float32)
            for shape in ((30, 5), (5, 4), (4,), (30, 4))
        )

    def loss(self) -> float:
        y = self.f(self.x @ self.w + self.b)
        return float((y * self.c).sum(dtype=np.float64))

    def magnitude(self) -> float:
        return float(np.abs(self.f(self.x @ self.w + self.b) * self.c).sum())

    def arrays(self) -> dict[str, Any]:
        return {"x": self.x, "w": self.w, "b": self.b}

    def gradients(self) -> dict[str, Any]:
        dz = self.c * self.slope(self.x @ self.w + self.b)
        return {"x": dz @ self.w.T, "w": self.x.T @ dz, "b": dz.sum(axis=0)}

    def check(self, gradients: dict[str, Any], kinks: float = 0.0) -> None:
        assert_gradients(
            self.loss, self.arrays(), gradients, magnitude=self.magnitude(), kinks=kinks
        )


@pytest.fixture
def smooth() -> Network:
    return Network(np.tanh, lambda z: 1.0 - np.tanh(z) ** 2)


def test_right_gradient_passes_and_arrays_are_put_back(smooth: Network) -> None:
    before = {name: array.copy() for name, array in smooth.arrays().items()}
    smooth.check(smooth.gradients())
    for name, array in smooth.arrays().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("name", ["x", "w", "b"])
def test_one_percent_off_in_one_element_is_caught(smooth: Network, name: str) -> None:
    gradients = smooth.gradients()
    flat = gradients[name].reshape(-1)
    flat[np.abs(flat).argmax()] *= 1.01
    with pytest.raises(AssertionError, match=rf"{name}\["):
        smooth.check(gradients)


def test_wrong_factor_and_wrong_sign_are_caught(smooth: Network) -> None:
    for factor in (-1.0, 0.0, 1.005, 2.0):
        gradients = smooth.gradients()
        gradients["w"] = gradients["w"] * np.float32(factor)
        with pytest.raises(AssertionError, match=r"w\["):
            smooth.check(gradients)


def test_non_finite_gradient_is_caught(smooth: Network) -> None:
    gradients = smooth.gradients()
    gradients["b"][1] = np.nan
    with pytest.raises(AssertionError, match="b"):
        smooth.check(gradients)


def test_kinks_must_be_allowed() -> None:
    rough = Network(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(np.float32))
    rough.x[:, 0] = 0.0
    rough.x[0, :] = 0.0
    rough.b[0] = 0.0  # x[0] w + b is 0 now: the loss has a kink there
    with pytest.raises(AssertionError, match=r"x: \d+ of 150 not smooth"):
        rough.check(rough.gradients())
    rough.check(rough.gradients(), kinks=0.5)
    gradients = rough.gradients()
    gradients["w"] *= np.float32(1.01)
    with pytest.raises(AssertionError, match=r"w\["):
        rough.check(gradients, kinks=0.5)
