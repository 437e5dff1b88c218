"""The reader of Dockerfile and .dockerignore that the image's test relies on, against what Docker documents."""

from __future__ import annotations

import pytest

from tests.package.dockerfiles import NotUnderstood, build_context, copied, ignored, installed_extras, read_dockerignore


@pytest.mark.parametrize(
    ("rules", "path", "out"),
    [
        ("", "a/b.py", False),
        ("*", "a", True),
        ("*", "a/b.py", True),  # by the folder above it
        ("*.py", "a/b.py", False),  # a star does not cross a slash
        ("**/*.py", "b.py", True),
        ("**/*.py", "a/b/c.py", True),
        ("a/?.py", "a/b.py", True),
        ("# a\n\na", "a", True),
        ("/a/", "a/b", True),
        ("*\n!a", "a/b/c.py", False),
        ("*\n!a\n**/__pycache__", "a/__pycache__/c.pyc", True),
        ("**/__pycache__\n!a", "a/__pycache__/c.pyc", False),  # the last that matches decides
        ("*\n!a/b", "a/c", True),
        ("a+b", "aab", False),
    ],
)
def test_the_last_pattern_that_matches_a_path_or_a_folder_above_it_decides(rules, path, out):
    assert ignored(read_dockerignore(rules), path) is out


@pytest.mark.parametrize("rule", ["a[bc]", "a\\*", "../x", "./x"])
def test_a_pattern_that_is_not_known_here_is_refused(rule):
    with pytest.raises(NotUnderstood, match="dockerignore"):
        read_dockerignore(rule)


def test_the_context_holds_what_was_taken_back_inside_of_an_ignored_folder(tmp_path):
    # Given a folder that is left out but for one file
    for name in ("a/keep/x", "a/drop", "b/y", "top"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    # Then that file alone is sent
    assert build_context(tmp_path, read_dockerignore("*\n!a/keep")) == ["a/keep/x"]


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
