"""What the doctor's words have in common: JSON, text and a page of them."""

from __future__ import annotations

import os
from typing import Any


class Told:
    """Something that the doctor says, for programs."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; docs/doctor.md says what the keys mean.

        Examples
        --------
        >>> from evengrad.doctor import Report
        >>> Report(()).to_dict()
        {'format': 1, 'healthy': True, 'verdicts': [], 'layers': [], 'health': None}
        """
        from evengrad.doctor import _plain

        return _plain.of(self)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return `to_dict` as text, NaN as null, infinities as strings.

        Parameters
        ----------
        path : str or path, optional
            Where to write it, too.
        """
        from evengrad.doctor import _plain

        return _plain.text(self.to_dict(), path)


class Shown(Told):
    """Something that the doctor says; `print` shows it.

    How it looks is in modules that are imported when something is to be shown.
    """

    def __repr__(self) -> str:
        from evengrad.doctor import _text

        return _text.brief(self)

    def __str__(self) -> str:
        from evengrad.doctor import _text

        return _text.of(self, _text.WIDTH)

    def show(self) -> None:
        """Print it in the columns and characters that the terminal has."""
        from evengrad.doctor import _text

        _text.show(_text.of(self, _text.terminal()))

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Write it as a page with charts that needs no other file and no network.

        Parameters
        ----------
        path : str or path
            The file, for instance "report.html".
        """
        from evengrad.doctor import page

        page.save(self, path)
