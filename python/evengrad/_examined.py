"""What a model has for the doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from evengrad._compiled import Compiled

if TYPE_CHECKING:
    from evengrad.models import Sequential


class Examined(Compiled):
    """The part of `Sequential` that the doctor asks and treats."""

    @property
    def _patient(self) -> Sequential:
        return cast("Sequential", self)
