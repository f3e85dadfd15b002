"""What a replay has found in the data that it may not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evengrad import _sources

if TYPE_CHECKING:
    from evengrad._feed import Feed


def check_targets(feed: Feed) -> None:
    """Raise where targets of the next step are finite, but not what the loss wants."""
    data, rows = feed.data(), feed.rows()
    assert data.y is not None
    if data.legal is not None and not _sources.illegal_rows(data.y, rows).size:
        raise of_sources(feed)


def of_sources(feed: Feed) -> ValueError:
    """Say which rows of the next step are not legal."""
    data, rows = feed.data(), feed.rows()
    finite = _sources.FINITE
    for name, array, legal in (("x", data.x, finite), ("y", data.y, data.legal or finite)):
        if array is None:
            continue
        bad = _sources.illegal_rows(array, rows, legal)
        if bad.size:
            text = _sources.explain(array, bad, legal)
            return ValueError(f"{feed.who}: expected {name} {text}{feed.of_batch}")
    return ValueError(f"{feed.who}: expected the data not to change while they are read")
