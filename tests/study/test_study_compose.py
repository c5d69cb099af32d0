"""docker/compose.yaml is consistent and calls `recsys tune` correctly. No container is started."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_study import small

from recsys.config import to_toml
from recsys.study.tuning import open_study

DOCKER = Path(__file__).parents[2] / "docker"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]


def filled(text: str, **values: str) -> str:
    """As compose fills in its variables; one without a value and without a default is missing."""
    return re.sub(
        r"\$\{(\w+)(?::([-?])([^}]*))?\}",
        lambda found: values.get(found[1]) or _default(found),
        text,
    )


def _default(found: re.Match[str]) -> str:
    assert found[2] == "-", f"{found[1]} has no value"
    return found[3]


def test_services_wait_for_one_that_can_tell_when_it_is_ready(services: dict[str, Any]) -> None:
    assert set(services) == {"postgres", "dashboard", "worker"}
    for name in ("dashboard", "worker"):
        assert services[name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "pg_isready" in services["postgres"]["healthcheck"]["test"][1]
    volumes = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["volumes"]
    assert [mount.split(":")[0] for mount in services["postgres"]["volumes"]] == list(volumes)


def test_nothing_is_open_to_the_network_and_images_are_pinned(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", services["postgres"]["image"])
    inline = services["dashboard"]["build"]["dockerfile_inline"]
    cpu = (DOCKER / "Dockerfile.cpu").read_text(encoding="utf-8")
    assert re.findall(r"^FROM (\S+)", inline, re.M)[0] in re.findall(r"^FROM (\S+)", cpu, re.M)
    assert filled(services["worker"]["image"]) == re.search(r"docker build .* -t (\S+) ", cpu)[1]  # type: ignore[index]
    assert "[postgres]" in cpu


def test_every_url_is_that_of_the_database(services: dict[str, Any]) -> None:
    made = services["postgres"]["environment"]
    wanted = (made["POSTGRES_USER"], "postgres", made["POSTGRES_DB"])
    found = re.findall(
        r"postgresql(?:\+\w+)?://(\w+)@(\w+)/(\w+)",
        f"{services['dashboard']['command']} {services['worker']['command']}",
    )
    assert found == [wanted, wanted]


def test_a_worker_begins_the_study_and_goes_on_with_it(
    services: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its command line, with a database that is here."""
    from recsys import cli

    worker = services["worker"]
    assert worker["entrypoint"] == ["sh", "-c"]
    (line,) = worker["command"]
    values = {
        "CONFIG": "small.toml",
        "THREADS": filled(worker["environment"]["THREADS"]),
        "HOSTNAME": "box",
    }
    words = shlex.split(re.sub(r"\$\$(\w+)", lambda found: values[found[1]], line))
    assert words[:3] == ["exec", "recsys", "tune"]
    (tmp_path / "small.toml").write_text(to_toml(small(tmp_path, tune={"trials": 2}).to_tree()))
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    for _ in range(2):
        monkeypatch.setattr(
            sys, "argv", [url if word.startswith("postgresql://") else word for word in words[1:]]
        )
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0, capsys.readouterr().err
    assert len(open_study(tmp_path / "runs" / "study-box").trials) == 2
