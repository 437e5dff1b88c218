"""Tab completion of names in the metastore."""

from __future__ import annotations

from pathlib import Path

import pytest
from IPython.core.completer import CompletionContext

from nbflow import command_arguments
from nbflow.command_arguments import Type
from nbflow.connections import Connection
from nbflow.notebook.completion import CONTENT, NAMES, complete
from nbflow.notebook.session import current_session, end_session
from nbflow.store.base import Pool
from tests.notebook.conftest import Shell
from tests.store.worlds import T0
from tests.views.test_statements import _backfill

pytestmark = pytest.mark.filterwarnings("ignore:`Completer.complete`:PendingDeprecationWarning")

SALES = "%%dag sales\n@task\ndef extract(): pass\nextract()"


def test_each_kind_of_completions_has_names() -> None:
    types = [value for value in vars(command_arguments).values() if isinstance(value, Type)]

    assert {kind.completes for kind in types} - {"", "file"} == NAMES.keys() | CONTENT.keys()


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("%nbflow connections --conn-id s", ["shop"]),
        ("%nbflow connections --c", ["--conn-id"]),
        ("%nbflow po", ["pools"]),
        ("!nbflow va", ["variables"]),
        ("!nbflow pools de", ["delete"]),
        ("!nbflow pools delete ", ["api", "default_pool"]),
        ("keys = !nbflow variables get r", ["region"]),
        ("!nbflow variables get region --d", ["--default"]),
        ("!nbflow connections delete ", ["shop"]),
        ("!nbflow backfill pause ", ["1", "2"]),
        ("!nbflow dags trigger s", ["sales"]),
        ("!nbflow why sales e", ["extract"]),
        ("!nbflow why sales extract l", ["last"]),
        ("!nbflow quiz dag", ["dag_concepts"]),
    ],
)
def test_tab_completes_names_of_the_metastore(shell: Shell, line: str, completions: list[str]) -> None:
    # Given a DAG of this kernel, and a pool, a variable, a connection and two backfills
    shell.run(SALES)
    store = current_session().app.store
    store.set_pool(Pool(name="api", slots=3), actor="user", now=T0)
    store.set_variable("region", "eu", actor="user", now=T0)
    store.set_connection(Connection(conn_id="shop"), actor="user", now=T0)
    for _ in range(2):
        _backfill(store, [])
    # Then Tab completes their names
    assert shell.complete(line) == completions


LINES = ["!nbflow pools delete ", "%nbflow connections --conn-id ", "%dag run ", "%dag logs sales ", "%dag why d t "]


def nbflow_completions(line: str) -> list[str]:
    """The completions of nbflow, without those that IPython adds if nbflow has none."""
    token = line.rpartition(" ")[2]
    context = CompletionContext(token=token, full_text=line, cursor_position=len(line), cursor_line=0, limit=None)
    return [completion.text for completion in complete(context)["completions"]]


@pytest.mark.parametrize("line", LINES)
def test_tab_without_a_metastore_does_not_create_it(shell: Shell, notebook_home: Path, line: str) -> None:
    # Given a home without a metastore, and a kernel that has not opened it
    end_session()
    for path in notebook_home.glob("nbflow.db*"):
        path.unlink()
    # Then there are no completions, and no metastore is created
    assert nbflow_completions(line) == []
    assert [*notebook_home.glob("nbflow.db*")] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NBFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://nobody@127.0.0.1:1/none"),
        ("NBFLOW__DATABASE__SQL_ALCHEMY_CONN", "mysql://nobody@127.0.0.1/none"),
        ("NBFLOW__CORE__PARALLELISM", "many"),
    ],
)
def test_tab_with_an_unreachable_metastore_has_no_completions_and_no_error(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    end_session()
    with monkeypatch.context() as patched:
        patched.setenv(name, value)
        assert [nbflow_completions(line) for line in LINES] == [[]] * len(LINES)
        end_session()
    assert capfd.readouterr() == ("", "")


def test_ipython_completes_file_names(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "pools.json").write_text("{}")

    assert "pools.json" in shell.complete("!nbflow pools import po")
