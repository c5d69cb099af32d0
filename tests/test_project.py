"""What the project says about itself in different places agrees, and what it names is there."""

from __future__ import annotations

import ast
import fnmatch
import functools
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
EXTRAS = set(PROJECT["project"]["optional-dependencies"])

# Folders that tools and runs leave behind.
_LEFT_BEHIND = {
    ".git",
    ".venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "__pycache__",
    "runs",
    "build",
    "dist",
    "site",
}


@functools.cache
def files() -> tuple[Path, ...]:
    """The files of the project: those of git, or without git all files except those of tools."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return tuple(
            path
            for name in sorted(set(listed.stdout.split("\0")))
            if name and (path := ROOT / name).is_file()
        )
    found: list[Path] = []
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [name for name in inner if name not in _LEFT_BEHIND]
        found += [Path(folder, name) for name in names]
    return tuple(sorted(found))


def texts() -> Iterator[tuple[str, str]]:
    for path in files():
        content = path.read_bytes()
        if b"\0" not in content[:8192]:
            yield path.relative_to(ROOT).as_posix(), content.decode("utf-8", errors="replace")


def requirement(name: str) -> Requirement:
    return next(
        found
        for line in PROJECT["project"]["dependencies"]
        if (found := Requirement(line)).name == name
    )


def test_one_lowest_python() -> None:
    floor = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert PROJECT["tool"]["mypy"]["python_version"] == floor
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + floor.replace(".", "")
    assert f"({floor.replace('.', ', ')})" in MAKEFILE
    classifiers = [
        line.rsplit(" ", 1)[1]
        for line in PROJECT["project"]["classifiers"]
        if re.search(r":: 3\.\d+$", line)
    ]
    assert min(classifiers, key=Version) == floor
    for path in DOCKERFILES:
        assert all(
            Version(version) >= Version(floor)
            for version in re.findall(r"FROM python:([\d.]+)", path.read_text())
        )


def test_one_torch_in_makefile_and_images() -> None:
    versions = {re.search(r"^TORCH_VERSION := (\S+)", MAKEFILE, re.M)[1]}
    for path in DOCKERFILES:
        versions |= set(re.findall(r"pip install torch==([\d.]+)", path.read_text()))
    assert len(versions) == 1
    assert requirement("torch").specifier.contains(versions.pop())


def test_the_changelog_ends_at_the_version_of_the_package() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.M)
    assert changelog.startswith("# Changelog")
    assert re.search(r"^## \[Unreleased\]", changelog, re.M)
    assert released == sorted(released, key=Version, reverse=True)
    assert Version(PROJECT["project"]["version"]) >= max(
        map(Version, released), default=Version("0")
    )


def imported() -> set[str]:
    """Names of packages from outside that the package imports anywhere."""
    found: set[str] = set()
    for path in (ROOT / "recsys").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found


def test_everything_imported_is_a_dependency() -> None:
    lists = [
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
    ]
    declared = {
        Requirement(line).name.lower().replace("-", "_") for lines in lists for line in lines
    }
    foreign = {
        name for name in imported() if name not in sys.stdlib_module_names and name != "recsys"
    }
    # scikit-learn, faiss-cpu and pillow are imported under other names.
    assert {
        {"sklearn": "scikit_learn", "faiss": "faiss_cpu", "PIL": "pillow"}.get(name, name)
        for name in foreign
    } <= declared


def extras_named(text: str) -> set[str]:
    return {
        name
        for names in re.findall(r"recsys\[([a-z, ]+)\]", text)
        for name in re.split(r", ?", names)
    }


def test_every_extra_that_is_named_exists_and_every_extra_is_named() -> None:
    named: set[str] = set()
    for place, text in texts():
        if place.startswith("tests/"):
            continue
        unknown = extras_named(text) - EXTRAS
        assert not unknown, f"{place} names extras that pyproject.toml lacks: {unknown}"
        named |= extras_named(text)
    assert named | {"dev"} >= EXTRAS
    assert extras_named("pip install 'recsys[ann]' or recsys[plot, track]") == {
        "ann",
        "plot",
        "track",
    }


def test_what_the_wheel_takes_in_is_there() -> None:
    for source, target in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"][
        "force-include"
    ].items():
        assert (ROOT / source).is_dir(), source
        assert target.startswith("recsys/")
        assert any(path.is_relative_to(ROOT / source) for path in files()), f"{source} is empty"
    assert (ROOT / PROJECT["project"]["readme"]).is_file()
    assert all((ROOT / name).is_file() for name in PROJECT["project"]["license-files"])
    assert (ROOT / "recsys" / "py.typed").is_file()


def test_the_console_script_is_there() -> None:
    module, name = PROJECT["project"]["scripts"]["recsys"].split(":")
    source = ROOT.joinpath(*module.split("."), "__init__.py").read_text(encoding="utf-8")
    assert name in {
        node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)
    }


def test_every_configuration_is_toml() -> None:
    paths = sorted((ROOT / "configs").rglob("*"))
    assert [path for path in paths if path.is_file()]
    for path in paths:
        if path.is_file() and path.suffix != ".md":
            assert path.suffix == ".toml", path
            assert tomllib.loads(path.read_text(encoding="utf-8")), path


def targets() -> dict[str, str]:
    """Recipes of the Makefile by target."""
    return dict(re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)*)", MAKEFILE, re.M))


def test_every_target_is_phony_explained_and_runs_what_exists() -> None:
    phony = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[1].split())
    assert phony == set(targets())
    assert {"help", "demo", "test", "check", "slow", "bench", "table", "clean"} <= phony
    assert phony == set(re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.M))
    for name, recipe in targets().items():
        for script in re.findall(r"\b(?:benchmarks|tests)/\w+\.py", recipe):
            assert (ROOT / script).is_file(), f"make {name} runs {script}"
        for module in re.findall(r"-m (recsys[\w.]*)", recipe):
            base = ROOT.joinpath(*module.split("."))
            assert base.with_suffix(".py").is_file() or (base / "__main__.py").is_file(), (
                f"make {name} runs {module}"
            )


def test_ci_runs_the_suite() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make --no-print-directory test" in script.read_text()
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def copied(dockerfile: Path) -> list[str]:
    """What an image takes from the repository."""
    lines = [
        line.split()[1:-1]
        for line in dockerfile.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
    ]
    return [name for names in lines for name in names]


def kept(name: str, rules: list[str]) -> bool:
    """Whether .dockerignore lets a path at the root through: the last rule that matches decides."""
    answer = True
    for rule in rules:
        if fnmatch.fnmatch(name, rule.removeprefix("!")):
            answer = rule.startswith("!")
    return answer


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_copy_what_exists_and_run_unprivileged(dockerfile: Path) -> None:
    rules = [
        line.strip()
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    names = copied(dockerfile)
    assert {"pyproject.toml", "recsys", *PROJECT["project"]["license-files"]} <= set(names)
    for name in names:
        assert (ROOT / name).exists(), name
        assert kept(name, rules), f"{name} is kept out by .dockerignore"
    assert not kept("tests", rules)
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert {source.split("/")[0] for source in included} <= set(names)
    text = dockerfile.read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.M)
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases), "pin the base image"
    assert re.findall(r"^USER (\S+)", text, re.M)[-1] not in {"root", "0"}
    assert 'ENTRYPOINT ["recsys"]' in text


def test_there_is_an_image_for_each_device() -> None:
    assert [path.name for path in DOCKERFILES] == ["Dockerfile.cpu", "Dockerfile.cuda"]


# A home folder, a temporary folder of some job, a drive of Windows.
_MACHINE = re.compile(
    r"(?<![\w.])/(?:home|Users)/\w+|(?<![\w.])/root/|/tmp/\w+[./]\w|\b[A-Z]:\\\\?Users"
)


def machine_paths(text: str) -> list[str]:
    return [
        *_MACHINE.findall(text),
        *([str(ROOT)] if len(ROOT.parts) > 2 and str(ROOT) + "/" in text else []),
    ]


def test_no_file_names_a_path_of_one_machine() -> None:
    own = Path(__file__).relative_to(ROOT).as_posix()
    found = {
        place: paths for place, text in texts() if place != own and (paths := machine_paths(text))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "see /home/ann/recsys",
        'open("/Users/ann/x.csv")',
        "cd /root/project",
        r"C:\Users\ann",
        f"{ROOT}/data",
        "/tmp/job12/x",
    ],
)
def test_a_path_of_one_machine_is_noticed(line: str) -> None:
    assert machine_paths(line)


@pytest.mark.parametrize(
    "line",
    [
        "/opt/recsys/bin",
        "https://example.org/home/x",
        "docs/home/page.md",
        "rel/root/x",
        "/dev/null",
        "/tmp",
    ],
)
def test_other_paths_are_let_through(line: str) -> None:
    assert machine_paths(line) == []


def links(text: str) -> list[str]:
    """Relative targets of Markdown links."""
    return [
        target
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if not re.match(r"[a-z]+:|#", target)
    ]


def test_links_between_pages_lead_somewhere() -> None:
    pages = [path for path in files() if path.suffix == ".md"]
    assert len(pages) > 5
    for page in pages:
        for target in links(page.read_text(encoding="utf-8")):
            assert (page.parent / target.split("#")[0]).exists(), (
                f"{page.relative_to(ROOT)} links to {target}"
            )


def test_decisions_are_numbered_without_a_gap() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for name in names:
        text = (ROOT / "docs" / "decisions" / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {int(name[:4])}. "), name
        assert all(part in text for part in ("**Context.**", "**Decision.**")), name


@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_what_a_benchmark_imports_is_there(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their tables take hours, so nobody sees at once that a name they use has gone."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    importlib.import_module(script)
