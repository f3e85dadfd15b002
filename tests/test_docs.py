"""Every python block of docs/*.md runs, in order, and prints what the page says.

The blocks of a page are one program. A block fenced as `text` right behind a `python` block is what
that one prints; `>>>` is not needed.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    line: int  # of the page, of its first line of code
    code: str
    output: str | None  # None: whatever it prints


def blocks(page: str) -> list[Block]:
    found: list[Block] = []
    end = -1  # of the last python block
    for match in FENCE.finditer(page):
        kind, text = match.groups()
        if kind == "python":
            found.append(Block(page.count("\n", 0, match.start(2)) + 1, text, None))
            end = match.end()
        elif kind == "text" and end >= 0 and not page[end : match.start()].strip():
            found[-1] = found[-1]._replace(output=text)
    return found


def run(page: str, name: str) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        code = compile("\n" * (block.line - 1) + block.code, name, "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        if block.output is not None:
            assert printed.getvalue() == block.output, f"{name}, line {block.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a page may write files
    run(page.read_text(), str(page))


def test_pages_have_blocks() -> None:
    assert len(PAGES) >= 2
    assert [page.name for page in PAGES if not blocks(page.read_text())] == []


def test_no_python_goes_unseen() -> None:
    """Every line of a page that is fenced as python is in some block."""
    for page in PAGES:
        text = page.read_text()
        assert text.count("```python") == len(blocks(text)), page.name
        assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(FENCE.findall(text)), (
            page.name
        )


PAGE = """
```python
a = 1
print(a + 1)
```

```text
{output}
```

Text.

```python
assert a == {value}
```
"""


def test_what_is_wrong_is_found() -> None:
    run(PAGE.format(output=2, value=1), "page")
    with pytest.raises(AssertionError, match="page, line 3"):
        run(PAGE.format(output=3, value=1), "page")
    with pytest.raises(AssertionError):
        run(PAGE.format(output=2, value=2), "page")
