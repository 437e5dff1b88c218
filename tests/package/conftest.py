"""The wheel that ``docker build`` builds, and environments in which it is installed."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

import pytest

from tests.package.dockerfiles import build_context, copied, installed_extras, workdirs
from tests.package.installing import Environment, build, install

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text("utf-8")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from exactly the files that ``docker build`` copies into the image."""
    image = tmp_path_factory.mktemp("image")
    for place, path in copied(DOCKERFILE, build_context(ROOT)).items():
        target = image / PurePosixPath(place).relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
    source = image / PurePosixPath(workdirs(DOCKERFILE)[0]).relative_to("/")
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel installed without extras."""
    return install(wheel, (), tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def image(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel installed with the extras that the image has."""
    return install(wheel, installed_extras(DOCKERFILE), tmp_path_factory.mktemp("complete"))
