"""Draw the wings of the package and the imports between them: docs/pictures/wings.svg.

    python benchmarks/wings.py [OUT.svg]

The layers are those of `tests/test_layers.py`; lines and imports are counted in the source.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH = 1000
ROW = 86
BOX = 150
GAP = 18


def main(out: Path) -> None:
    """Write the picture."""
    sys.path[:0] = [str(ROOT / "tests")]
    from test_layers import WINGS

    arrows = {(source, target) for source, target in imports() if source != target}
    height = ROW * len(WINGS) + 20
    boxes = {}
    for level, layer in enumerate(reversed(WINGS)):
        width = len(layer) * (BOX + GAP) - GAP
        for number, wing in enumerate(layer):
            boxes[wing] = ((WIDTH - width) / 2 + number * (BOX + GAP), 16 + level * ROW)
    parts = [line(boxes[source], boxes[target]) for source, target in sorted(arrows)]
    parts += [box(wing, *place) for wing, place in boxes.items()]
    out.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif">'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>' + "".join(parts) + "</svg>\n",
        encoding="utf-8",
    )
    print(f"{out}: {len(boxes)} wings, {len(WINGS)} layers, {len(arrows)} arrows, none upwards")


def imports() -> set[tuple[str, str]]:
    """Return the pairs of wings of which the first imports the second."""
    from test_layers import HEIGHT, PACKAGE
    from test_layers import imports as imports_of

    pairs = set()
    for path in PACKAGE.rglob("*.py"):
        inner = path.relative_to(PACKAGE)
        wing = inner.parts[0].removesuffix(".py")
        package = ".".join(["recsys", *inner.parts[:-1]])
        for _, name in imports_of(path.read_text(encoding="utf-8"), package):
            first, *rest = name.split(".")
            if first == "recsys" and rest and rest[0] in HEIGHT and wing in HEIGHT:
                pairs.add((wing, rest[0]))
    return pairs


def line(source: tuple[float, float], target: tuple[float, float]) -> str:
    """Return a line from the lower edge of one box to the upper edge of another."""
    x1, y1 = source[0] + BOX / 2, source[1] + 46
    x2, y2 = target[0] + BOX / 2, target[1]
    return (
        f'<path d="M{x1:.0f} {y1:.0f} C{x1:.0f} {(y1 + y2) / 2:.0f} {x2:.0f} '
        f'{(y1 + y2) / 2:.0f} {x2:.0f} {y2:.0f}" fill="none" stroke="#8aa" stroke-opacity=".45"/>'
    )


def box(wing: str, x: float, y: float) -> str:
    """Return a labelled box with the number of modules and lines."""
    folder = ROOT / "recsys" / wing
    files = list(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    below = f"{len(files)} modules, {lines:,} lines" if folder.is_dir() else f"{lines:,} lines"
    fill = "#e8f1f8" if folder.is_dir() else "#f6f3ea"
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{BOX}" height="46" rx="6" fill="{fill}" '
        f'stroke="#567"/><text x="{x + BOX / 2:.0f}" y="{y + 20:.0f}" text-anchor="middle" '
        f'font-size="15" fill="#123">{escape(wing)}</text><text x="{x + BOX / 2:.0f}" '
        f'y="{y + 37:.0f}" text-anchor="middle" font-size="11" fill="#567">{below}</text>'
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures" / "wings.svg")
