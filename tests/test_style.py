"""The house style of `docs/style.md`, where a program can check it.

python tests/test_style.py recsys/data        # prints every breach under a folder
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COLUMNS = 100
FILE_LINES = 400
FUNCTION_LINES = 80

# A turn of phrase that the field does not use, and what to write.
BANNED = {
    r"\b(is|are|was|were) no (?!longer\b)[a-z']": "is not a ..., or: expected ..., got ...",
    r"\b(is|are|was|were) none\b": "there is no ...",
    r"\bnone of them\b": "not a valid choice",
    r"\buntold\b": "not given",
    r"\banew\b": "again",
    r"\bwhatever\b": "any, every, regardless of",
    r"\b(he|his|him|she|hers|His|She)\b": "they, their, them",
    r"\b(somebody|anybody|everybody|nobody)\b": "a caller, a user, no user",
    r"\b(is|are|was|were|be) (said|told|meant)\b": "is given, is reported, is resolved",
    r"\btold (of|about|in|when)\b": "receives, is called with",
    r"\bstands? (where|beside|in|there|above|below|for|at)\b": "is",
    r"\bmeans nothing\b": "has no effect",
    r"\b(by itself|by themselves)\b": "automatically, alone",
    r"\bat hand\b": "in memory, available",
    r"\bbeside\b": "next to, in addition to",
    r"\bmet\b": "interacted with",
    r"\bit is not said\b": "... is missing",
    r"\bsays? nothing\b": "is empty",
    r"\bwould have it\b": "...",
}
# Names of values that do not say what the value is.
NAMES = {"found", "said", "told", "made", "wanted", "mine", "theirs", "again"}
# A docstring of a function begins with a verb: Return, Draw, Raise.
NOT_VERBS = frozenset(
    re.findall(
        r"\w+",
        "the a an what whether how which where who whose all every each everything some any this "
        "that of in on as for to one two several many most its their it they these those no only "
        "also",
    )
)


def breaches(source: str, *, code: bool = True) -> Iterator[tuple[int, str]]:
    """Yield line and description of each breach in a Python source."""
    for number, line in enumerate(source.splitlines(), 1):
        line = re.sub(r"  # (type: ignore|noqa).*", "", line)  # a pragma cannot be wrapped
        if len(line) > COLUMNS:
            yield number, f"{len(line)} columns, at most {COLUMNS}"
    if not code:
        return
    for number, text in prose(source):
        for pattern, better in BANNED.items():
            for match in re.finditer(pattern, text):
                line = number + text.count("\n", 0, match.start())
                yield line, f"'{match.group(0)}': {better}"
    for node in ast.walk(ast.parse(source)):
        yield from of_node(node)


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of comments and of strings, the literal parts of f-strings included."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def of_node(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the breaches of one node of the syntax tree."""
    if isinstance(node, ast.FunctionDef):
        yield from of_function(node)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in NAMES:
        yield node.lineno, f"variable '{node.id}' does not say what it holds"
    elif isinstance(node, ast.arg) and node.arg in NAMES:
        yield node.lineno, f"argument '{node.arg}' does not say what it holds"
    elif isinstance(node, ast.IfExp) and isinstance(node.orelse, ast.IfExp):
        yield node.lineno, "a chain of conditional expressions: write if and elif"
    elif (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and isinstance(node.value, ast.Tuple)
        and len(node.value.elts) > 2
    ):
        yield node.lineno, "more than two values assigned in one statement"


def of_function(node: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    """Yield the breaches of a function's docstring and length."""
    text = ast.get_docstring(node)
    is_property = any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
    if text and not is_property:
        first = re.split(r"\W", text.lstrip("`"), maxsplit=1)[0].lower()
        if first in NOT_VERBS:
            yield node.lineno, f"docstring of {node.name} begins with '{first}', not with a verb"
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if text and isinstance(node.body[0], ast.Expr):
        lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
    if lines > FUNCTION_LINES:
        yield node.lineno, f"{node.name} has {lines} lines, at most {FUNCTION_LINES}"


def report(root: Path) -> list[str]:
    """Return a line for each breach in the Python files under a folder."""
    lines = []
    for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
        source = path.read_text(encoding="utf-8")
        ours = "tests" not in path.resolve().relative_to(ROOT).parts
        place = path.resolve().relative_to(ROOT).as_posix()
        lines += [f"{place}:{number}: {breach}" for number, breach in breaches(source, code=ours)]
        if ours and (length := len(source.splitlines())) > FILE_LINES:
            lines.append(f"{place}: {length} lines, at most {FILE_LINES}")
    return lines


@pytest.mark.parametrize("folder", ["recsys", "tests", "benchmarks", "data", "docs"])
def test_the_style_holds(folder: str) -> None:
    assert report(ROOT / folder) == []


@pytest.mark.parametrize(
    ("source", "breach"),
    [
        ("x = 1  # this is no whole number\n", "'is no w'"),
        ('"""The loss is computed anew."""\n', "'anew'"),
        ('raise ValueError(f"{1} is none of them")\n', "'is none'"),
        ("found = 1\n", "variable 'found'"),
        ("def f(wanted): ...\n", "argument 'wanted'"),
        ('def f():\n    """The loss."""\n', "begins with 'the'"),
        ("a, b, c = 1, 2, 3\n", "more than two values"),
        ("a = 1 if x else 2 if y else 3\n", "chain of conditional"),
        ("def f():\n" + "    x = 1\n" * 81, "82 lines"),
        ("x = 1" + " " * 96 + "\n", "101 columns"),
    ],
)
def test_a_breach_is_found(source: str, breach: str) -> None:
    lines = [text for _, text in breaches(source)]
    assert any(breach in text for text in lines), lines


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """Return the loss."""\n',
        "x = 1  # the loop is no longer needed\n",
        "a, b = b, a\n",
        "is_found = 1\n",
    ],
)
def test_plain_code_is_let_through(source: str) -> None:
    assert list(breaches(source)) == []


if __name__ == "__main__":
    text = [line for name in sys.argv[1:] or ["recsys"] for line in report(Path(name))]
    print("\n".join(text))
    sys.exit(bool(text))
