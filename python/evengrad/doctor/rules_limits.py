"""Diseases of what holds training back: penalties, noise, clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evengrad.doctor import _lab
from evengrad.doctor._verdict import verdict
from evengrad.doctor.rules_signal import rate_of
from evengrad.doctor.rules_steps import lift
from evengrad.doctor.verdicts import Edit, Verdict
from evengrad.layers.dropout import AlphaDropout, Dropout, GaussianDropout

if TYPE_CHECKING:
    from evengrad.doctor._evidence import Evidence


def over_regularized(e: Evidence) -> Verdict | None:
    """Krogh, Hertz 1991; Srivastava et al. 2014: penalties or noise outweigh the loss."""
    penalty = float(sum(e.model.losses))
    decay = float(e.optimizer.weight_decay or 0.0) * rate_of(e)
    rates = [
        layer.rate
        for layer in _lab.leaves(e.model)
        if isinstance(layer, Dropout | AlphaDropout | GaussianDropout)
    ]
    dropped = max(rates, default=0.0)
    share = penalty / (abs(e.loss) + penalty) if penalty > 0.0 else 0.0
    strict = _penalized(e)
    if share < 0.05 and dropped < 0.3 and decay * e.steps < 1.0 and not strict:
        return None
    gain = lift(e.lab.run(free=True), e.lab.run())
    strong = max(share, decay / 0.01, (dropped - 0.3) / 0.4)
    confidence = 0.2 + 0.35 * min(strong, 1.0) + 0.25 * strict + 0.4 * min(max(gain, 0.0), 1.0)
    return verdict(
        "over_regularized",
        min(confidence, 0.96),
        f"Penalties are {share:.0%} of the loss, dropout up to {dropped:g}, decay {decay:.1e} a "
        f"step; without them a short training ends {np.exp(min(gain, 9.0)):.2g} times lower.",
        {
            "penalty": penalty,
            "data_loss": e.loss,
            "dropout": dropped,
            "decay_a_step": decay,
            "gain_without": gain,
        },
        (Edit("regularization", 0.1), Edit("regularization", 0.0)),
        "kernel_regularizer=None, Dropout(0.1), weight_decay=None",
        "Krogh, Hertz 1991, https://papers.nips.cc/paper/563; Srivastava et al. 2014, "
        "https://jmlr.org/papers/v15/srivastava14a.html",
    )


def _penalized(e: Evidence) -> bool:
    """Whether a penalty is as strong as an L2 of 0.05, which few gradients resist."""
    found = [v.regularizer for v in e.model.variables if v.regularizer is not None]
    return any(max(getattr(r, "l1", 0.0), getattr(r, "l2", 0.0)) >= 0.05 for r in found)


def over_clipped(e: Evidence) -> Verdict | None:
    """Pascanu et al. 2013: clipping shortens almost every step, by much."""
    kind, threshold = e.optimizer.clip
    if kind == "none" or not threshold > 0.0:
        return None
    squares = [look.gradient**2 * look.units * look.fan_in for look in e.fresh.layers]
    norm = float(np.sqrt(np.nansum(squares)))
    if kind == "value":
        norm = max((look.gradient for look in e.fresh.layers), default=0.0)
    factor = threshold / max(norm, 1e-30)
    gain = lift(e.lab.run(unclipped=True), e.lab.run())
    rates = e.by_epoch.get("clip_rate", [])
    often = float(np.mean(rates[len(rates) // 2 :])) if len(rates) else 1.0
    if factor > 0.3 or gain < 0.05 or often < 0.9:
        return None
    return verdict(
        "over_clipped",
        min(0.96, 0.45 + 0.2 * -np.log10(factor) + 0.2 * min(gain, 1.0)),
        f"Clipping to {threshold:g} shortens steps to {factor:.1%} of the gradient's length.",
        {
            "threshold": threshold,
            "norm": norm,
            "factor": factor,
            "share_of_steps": often,
            "gain_without": gain,
        },
        (Edit("clipping", {"global_clipnorm": 1.0}), Edit("clipping", {})),
        "optimizer=SGD(learning_rate, global_clipnorm=1.0)",
        "Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063",
    )
