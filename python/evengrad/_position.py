"""Where training stands inside an epoch: all that another process needs to go on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from evengrad.training import Epoch


class Position(NamedTuple):
    """An epoch and how many of its steps are done, counted from 0.

    `batch` is the next one of the pass over the data. The rest is of an epoch that has begun: sums
    of loss and metrics and what `History.health` is made of, steps left out, and what says whether
    the data are of the same size.
    """

    epoch: int
    step: int = 0
    batch: int = 0
    skipped: int = 0
    rows: int = 0
    batch_size: int = 0
    totals: tuple[float, ...] = ()
    health: tuple[float, ...] = ()


def position_of(epoch: Epoch) -> Position:
    """Return where an epoch stands; of batches that an object hands out, that it has begun."""
    recording, feed = epoch.recording, epoch.feed
    if feed.of_batch or recording is None:
        return Position(epoch.number)
    return Position(
        epoch.number,
        epoch.done,
        feed.place,
        epoch.skipped,
        len(feed.data().x),
        feed.capacity,
        tuple(recording.totals.tolist()),
        tuple(recording.health.tolist()),
    )


def position_after(epoch: Epoch) -> Position:
    """Return where the epoch after this one begins, perhaps in the middle of a pass."""
    here, feed = position_of(epoch), epoch.feed
    batch = feed.place if epoch.done == feed.steps else 0  # an epoch that was stopped ends its pass
    return Position(epoch.number + 1, 0, batch, 0, here.rows, here.batch_size)


def go_on(epoch: Epoch, position: Position) -> None:
    """Let an epoch stand there, its order of rows being that of the one that was left.

    Raises
    ------
    ValueError
        If data, batches or metrics are others.
    """
    if not position.step and not position.batch:
        return
    here, recording = position_of(epoch), epoch.use()
    same = here.rows == position.rows and here.batch_size == position.batch_size
    if not same or (position.step and len(here.totals) != len(position.totals)):
        raise ValueError(
            f"fit: expected to go on in the middle of epoch {position.epoch + 1} with its "
            f"{position.rows} rows in batches of {position.batch_size} and its metrics, got "
            f"{here.rows} in batches of {here.batch_size}; remove the backup to begin again"
        )
    epoch.feed.go_to(position.batch, position.step)
    if position.step:
        epoch.done, epoch.skipped = position.step, position.skipped
        recording.totals[...] = position.totals
        recording.health[...] = position.health


def from_json(content: Any) -> Position:
    """Return the position whose `_asdict` went through JSON."""
    if not isinstance(content, dict) or content.keys() != set(Position._fields):
        raise ValueError(f"expected {', '.join(Position._fields)}, got {content!r:.80}")
    totals, health = (tuple(map(float, content.pop(name))) for name in ("totals", "health"))
    if not all(type(n) is int and n >= 0 for n in content.values()):
        raise ValueError(f"expected counts, got {content!r:.80}")
    return Position(**content, totals=totals, health=health)
