"""Diseases of the steps: learning rate, oscillation, state of the optimizer, epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evengrad.doctor import _lab
from evengrad.doctor._verdict import verdict
from evengrad.doctor.rules_signal import rate_of
from evengrad.doctor.verdicts import Edit, Verdict

if TYPE_CHECKING:
    from evengrad.doctor._evidence import Evidence
    from evengrad.doctor._lab import Outcome

HEAVY = 0.97  # momentum that goes on for more than some thirty steps


def lift(better: Outcome, worse: Outcome) -> float:
    """Natural logarithm of the ratio of losses: above 0 where the first one is lower."""
    if better.broken or worse.broken:
        return float(worse.broken) * 5.0 - float(better.broken) * 5.0
    low = 1e-6 * max(abs(better.loss), abs(worse.loss), 1e-30)
    if min(better.loss, worse.loss) <= 0.0:
        return float(np.sign(worse.loss - better.loss))
    return float(np.log(max(worse.loss, low) / max(better.loss, low)))


def pace(e: Evidence) -> float:
    """Median over hidden kernels of the norm of an update over that of the kernel."""
    found = [e.ratio.get(look.path, float("nan")) for look in e.now.layers if look.trainable]
    finite = [value for value in found if np.isfinite(value)]
    return float(np.median(finite)) if finite else float("nan")


def restless(curve: np.ndarray) -> tuple[float, float]:
    """Of the second half of a loss: share of changes of direction, and their size by its level."""
    half = curve[len(curve) // 2 :]
    if len(half) < 4 or not np.isfinite(half).all():
        return 0.0, 0.0
    moves = np.diff(half)
    turns = float(np.mean(np.sign(moves[1:]) != np.sign(moves[:-1])))
    level = max(abs(float(np.median(half))), 1e-30)
    return turns, float(np.median(np.abs(moves)) / level)


def still_falling(curve: np.ndarray) -> float:
    """Fall of the loss over the last third, in shares of what it fell in all."""
    if len(curve) < 3 or not np.isfinite(curve).all():
        return 0.0
    third = max(1, len(curve) // 3)
    end = float(np.mean(curve[-max(1, third // 2) :]))
    before = float(np.mean(curve[-third - max(1, third // 2) : -third]))
    whole = float(curve[0] - curve.min())
    return (before - end) / whole if whole > 0.0 else 0.0


def lowest(outcomes: dict[float, Outcome]) -> tuple[float, Outcome]:
    """The best of some short trainings, with the factor of its learning rate."""
    return min(outcomes.items(), key=lambda pair: np.inf if pair[1].broken else pair[1].loss)


def outruns_statistics(e: Evidence) -> bool:
    """Whether moving statistics lag although they had time: weights move faster than they do."""
    momenta = [layer.momentum for layer in _lab.normalizations(e.model)]
    exact_loss, exact_score = e.exact
    lagging = exact_score - e.score > 0.05 and exact_loss < e.loss
    return bool(momenta) and lagging and max(momenta) <= 0.99 and e.steps > 500


def learning_rate_too_high(e: Evidence) -> Verdict | None:
    """LeCun et al. 1998: steps beyond the curvature make the loss jump or grow."""
    if not e.trained and not e.lab.run().broken:
        return None
    usual, slower = e.lab.run(), {r: e.lab.run(rate=r) for r in (0.1, 0.01)}
    if all(outcome.broken for outcome in slower.values()):
        slower[0.001] = e.lab.run(rate=0.001)
    factor, best = lowest(slower)
    if best.broken and e.fresh.broken:
        return None  # whatever the rate
    gain, fast = lift(best, usual), pace(e)
    calm = 0.5 * lift(e.lab.run(fresh=False, optimizer="fresh", rate=0.1), e.lab.run(fresh=False))
    gain = max(gain, min(calm, 1.0))
    broke = usual.broken or e.model.skipped_steps > 0
    ahead = outruns_statistics(e)
    if gain < 0.1 and not broke and not ahead and fast < 0.03:
        return None
    confidence = 0.2 + 0.5 * min(max(gain, 0.0), 1.5) + 0.1 * broke + 0.3 * ahead
    if fast > 0.02:
        confidence += 0.1 * np.log10(fast / 0.01)
    if best.broken:
        confidence = 0.7
    confidence = 0.9 if not e.trained else confidence * (1.0 - 0.4 * e.fits)
    rate = rate_of(e) * factor
    return verdict(
        "learning_rate_too_high",
        min(confidence, 0.95),
        f"At a learning rate of {rate_of(e):.3g} the loss is not finite after a few steps."
        if usual.broken
        else f"At a learning rate of {rate:.3g} a short training ends "
        f"{np.exp(min(max(gain, 0.0), 9.0)):.2g} times lower than at {rate_of(e):.3g}.",
        {
            "learning_rate": rate_of(e),
            "loss": usual.loss,
            "loss_at_tenth": slower[0.1].loss,
            "loss_at_hundredth": slower[0.01].loss,
            "update_to_weight": fast,
            "skipped_steps": e.model.skipped_steps,
        },
        (Edit("learning_rate", rate), Edit("clipping", {"global_clipnorm": 1.0})),
        f"model.optimizer.learning_rate = {rate:.3g}",
        "LeCun, Bottou, Orr, Muller 1998, doi:10.1007/3-540-49430-8_2",
    )


def learning_rate_too_low(e: Evidence) -> Verdict | None:
    """Smith 2017: at a multiple of the learning rate the same steps lead much further."""
    slow = pace(e)
    if not slow < 3e-3 or e.fits:
        return None
    usual = e.lab.run()
    if usual.broken:
        return None
    more = {r: e.lab.run(rate=r) for r in (10.0, 100.0)}
    if slow < 1e-5:
        more[1000.0] = e.lab.run(rate=1000.0)
    factor, best = lowest(more)
    gain = lift(best, usual)
    if gain < 0.1:
        return None
    confidence = 0.2 + 0.3 * min(gain, 1.0) + 0.15 * np.log10(1e-3 / max(slow, 1e-9))
    confidence *= 1.0 - 0.8 * e.learns_anew
    rate = rate_of(e) * factor
    return verdict(
        "learning_rate_too_low",
        min(confidence, 0.95),
        f"A step moves kernels by {slow:.1e} of their norm; at a learning rate of {rate:.3g} a "
        f"short training ends {np.exp(min(gain, 9.0)):.2g} times lower.",
        {
            "learning_rate": rate_of(e),
            "update_to_weight": slow,
            "loss": usual.loss,
            "loss_at_ten_times": more[10.0].loss,
            "loss_at_hundred_times": more[100.0].loss,
        },
        (Edit("learning_rate", rate),),
        f"model.optimizer.learning_rate = {rate:.3g}",
        "Smith 2017, arXiv:1506.01186",
    )


def oscillation(e: Evidence) -> Verdict | None:
    """Sutskever et al. 2013: steps go to and fro across a valley."""
    momentum = float(getattr(e.optimizer, "momentum", 0.0))
    turns, size = restless(e.curve)
    turns *= 1.0 - 0.5 * e.fits
    heavy = momentum > HEAVY
    if not heavy and (turns < 0.4 or size < 0.1):
        return None
    calm = e.lab.run(fresh=False, optimizer="fresh", rate=0.1)
    gain = lift(calm, e.lab.run(fresh=False))
    confidence = 0.3 + 0.4 * heavy + 0.3 * min(turns * size, 0.5) + 0.1 * min(max(gain, 0.0), 1.0)
    return verdict(
        "oscillation",
        min(confidence, 0.9),
        f"The loss changes direction in {turns:.0%} of its last epochs, by {size:.0%} of its size"
        + (f", with a momentum of {momentum:g}." if momentum else "."),
        {
            "changes_of_direction": turns,
            "size_of_changes": size,
            "momentum": momentum,
            "gain_of_a_tenth_of_the_rate": gain,
        },
        (Edit("learning_rate", 0.1 * rate_of(e)), Edit("optimizer", _adam())),
        "model.compile(SGD(learning_rate, momentum=0.9), loss)",
        "Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html",
    )


def optimizer_state(e: Evidence) -> Verdict | None:
    """Reddi et al. 2018: moments, or an epsilon, that do not fit the gradients."""
    epsilon = float(getattr(e.optimizer, "epsilon", 0.0))
    roots, means, gradients = _moments(e)
    swamped = epsilon / max(roots, 1e-30) if epsilon >= 1e-4 else 0.0
    stale = roots / max(gradients, 1e-30)
    pushed = means / max(gradients, 1e-30)
    now, anew = e.lab.run(fresh=False), e.lab.run(fresh=False, optimizer="fresh")
    gain = lift(anew, now)
    born = lift(e.lab.run(), e.as_outcome)
    heavy = float(getattr(e.optimizer, "momentum", 0.0)) > HEAVY  # see oscillation
    # Where units have died or are flat, gradients are small for another reason.
    moved = gradients > 1e-3 * float(np.median([look.gradient for look in e.fresh.layers] or [0.0]))
    clues = [swamped > 3.0, stale > 300.0 and moved, pushed > 30.0 and moved and not heavy]
    came = e.optimizer.iterations > 1.5 * e.steps + 10
    if e.fits or not (any(clues) or e.learns_anew or max(gain, born) > 1.0):
        return None
    confidence = 0.15 + 0.5 * any(clues) + 0.15 * min(max(gain, 0.0), 1.0)
    confidence += 0.2 * came + 0.4 * e.learns_anew * min(max(born, 0.0), 1.0)
    return verdict(
        "optimizer_state",
        min(confidence, 0.95),
        "The optimizer's moments do not fit the gradients: "
        f"{stale:.2g} times their size, epsilon {swamped:.2g} times the root of the second.",
        {
            "epsilon": epsilon,
            "root_of_second_moments": roots,
            "first_moments": means,
            "gradients": gradients,
            "gain_of_a_fresh_state": gain,
        },
        (Edit("optimizer", _adam()),),
        "model.compile(Adam(0.001), loss)",
        "Reddi, Kale, Kumar 2018, arXiv:1904.09237",
    )


def _adam() -> dict[str, object]:
    return {"name": "adam", "learning_rate": 0.001}


def _moments(e: Evidence) -> tuple[float, float, float]:
    """Root mean squares over all kernels: root of second moments, first moments, gradients."""
    kept = e.optimizer.kept()
    sizes: dict[str, list[float]] = {"second": [], "first": [], "gradient": []}
    paths = {v.path: slots for v, slots in kept.items()}
    for look in e.now.layers:
        slots = paths.get(look.path, {})
        sizes["gradient"].append(look.gradient)
        for name, slot in slots.items():
            values = np.asarray(slot.value, np.float64)
            if name in ("velocity", "second_moment"):
                sizes["second"].append(float(np.sqrt(np.abs(values).mean())))
            elif name == "momentum":
                sizes["first"].append(float(np.sqrt((values**2).mean())))
    middle = [float(np.median(found)) if found else 0.0 for found in sizes.values()]
    return middle[0], middle[1], middle[2]


def too_few_epochs(e: Evidence) -> Verdict | None:
    """Prechelt 1998: training ended while the loss still fell."""
    if not e.trained or e.fits or e.steps < e.planned:
        return None
    falling = still_falling(e.curve) if len(e.curve) >= 6 else 1.0
    longer = e.longer
    gain = lift(longer, e.as_outcome)
    closed = (longer.score - e.reached) / max(e.goal - e.reached, 1e-6)
    few = float(np.clip((12.0 - e.epochs) / 7.0, 0.0, 1.0))
    if gain < 0.05 and not few:
        return None
    confidence = 0.15 + 0.3 * min(max(closed, 0.0), 1.0) + 0.35 * few + 0.1 * min(falling, 1.0)
    return verdict(
        "too_few_epochs",
        min(confidence, 0.93),
        f"Training ended after {e.epochs} epochs; going on, the loss falls to "
        f"{np.exp(-min(gain, 9.0)):.2g} of what it was.",
        {
            "epochs": e.epochs,
            "steps": e.steps,
            "score": e.score,
            "score_later": longer.score,
            "still_falling": falling,
        },
        (Edit("epochs", 5.0),),
        "model.fit(x, y, epochs=5 * epochs)",
        "Prechelt 1998, doi:10.1007/3-540-49430-8_3",
    )
