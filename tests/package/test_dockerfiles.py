"""The parser of Dockerfile and .dockerignore, which the tests of the image use."""

from __future__ import annotations

import pytest

from tests.package.dockerfiles import UnsupportedInstruction, build_context, copied, installed_extras


def test_the_context_has_the_files_that_dockerignore_does_not_exclude(tmp_path):
    # Given a folder, and rules that exclude all but one part of it
    for name in (
        "included/x.py",
        "included/deep/y.py",
        "included/deep/__pycache__/y.pyc",
        "other/z",
        "top",
        ".git/config",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".dockerignore").write_text("# all but one\n*\n!included\n**/__pycache__\n")
    # Then the context has that part, and the file of rules
    assert build_context(tmp_path) == [".dockerignore", "included/deep/y.py", "included/x.py"]


def test_files_and_folders_are_copied_below_the_workdir():
    dockerfile = "WORKDIR /src\nCOPY one.txt two.txt ./\nCOPY docs ./other\nWORKDIR deep\nCOPY one.txt first.txt\n"
    context = ["docs/a/b.md", "docs/c.md", "one.txt", "two.txt"]
    assert copied(dockerfile, context) == {
        "/src/one.txt": "one.txt",
        "/src/two.txt": "two.txt",
        "/src/other/a/b.md": "docs/a/b.md",
        "/src/other/c.md": "docs/c.md",
        "/src/deep/first.txt": "one.txt",
    }


@pytest.mark.parametrize(
    "line",
    ["COPY gone ./gone", "COPY --from=base a b", "COPY a* ./", "COPY a b c", 'COPY ["a", "b"]', "COPY $A b", "ADD a b"],
)
def test_an_unsupported_line_is_refused(line):
    with pytest.raises(UnsupportedInstruction, match=line.split()[0]):
        copied(f"FROM x\nWORKDIR /src\n{line}\n", ["a", "b"])


def test_a_line_may_continue_on_the_next():
    dockerfile = "FROM x\nRUN apt-get update \\\n  && true\nRUN pip install '.[lab,postgres]'\n"
    assert (copied(dockerfile, []), installed_extras(dockerfile)) == ({}, ("lab", "postgres"))
