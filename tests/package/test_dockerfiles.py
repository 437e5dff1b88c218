"""The reader of Dockerfile and .dockerignore that the image's test relies on, against what Docker does."""

from __future__ import annotations

import pytest

from tests.package.dockerfiles import NotUnderstood, build_context, copied, installed_extras


def test_the_context_holds_what_dockerignore_leaves(tmp_path):
    # Given a folder, and rules that leave out all but a part of it
    for name in ("kept/x.py", "kept/deep/y.py", "kept/deep/__pycache__/y.pyc", "other/z", "top", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".dockerignore").write_text("# all but one\n*\n!kept\n**/__pycache__\n")
    # Then that part is sent, and the rules themselves
    assert build_context(tmp_path) == [".dockerignore", "kept/deep/y.py", "kept/x.py"]


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
def test_what_docker_would_refuse_or_reads_otherwise_is_refused(line):
    with pytest.raises(NotUnderstood, match=line.split()[0]):
        copied(f"FROM x\nWORKDIR /src\n{line}\n", ["a", "b"])


def test_a_line_may_go_on_in_the_next():
    dockerfile = "FROM x\nRUN apt-get update \\\n  && true\nRUN pip install '.[lab,postgres]'\n"
    assert (copied(dockerfile, []), installed_extras(dockerfile)) == ({}, ("lab", "postgres"))
