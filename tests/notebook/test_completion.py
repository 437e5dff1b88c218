"""What Tab offers for the names in the metastore, and that it never raises."""

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


def test_each_kind_of_argument_has_its_names() -> None:
    types = [value for value in vars(command_arguments).values() if isinstance(value, Type)]

    assert {kind.completes for kind in types} - {"", "file"} == NAMES.keys() | CONTENT.keys()


@pytest.mark.parametrize(
    ("line", "offers"),
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
def test_tab_offers_names_of_the_metastore(shell: Shell, line: str, offers: list[str]) -> None:
    # Given a DAG of this kernel, and a pool, a variable, a connection and two backfills
    shell.run(SALES)
    store = current_session().app.store
    store.set_pool(Pool(name="api", slots=3), actor="user", now=T0)
    store.set_variable("region", "eu", actor="user", now=T0)
    store.set_connection(Connection(conn_id="shop"), actor="user", now=T0)
    for _ in range(2):
        _backfill(store, [])
    # Then Tab offers their names
    assert shell.complete(line) == offers


LINES = ["!nbflow pools delete ", "%nbflow connections --conn-id ", "%dag run ", "%dag logs sales ", "%dag why d t "]


def offered(line: str) -> list[str]:
    """What nbflow offers, without what IPython adds where nbflow has nothing."""
    token = line.rpartition(" ")[2]
    context = CompletionContext(token=token, full_text=line, cursor_position=len(line), cursor_line=0, limit=None)
    return [completion.text for completion in complete(context)["completions"]]


@pytest.mark.parametrize("line", LINES)
def test_tab_without_a_metastore_creates_none(shell: Shell, notebook_home: Path, line: str) -> None:
    # Given a kernel that has not opened its home, which has no metastore
    end_session()
    for path in notebook_home.glob("nbflow.db*"):
        path.unlink()
    # Then Tab offers nothing and creates nothing
    assert offered(line) == []
    assert [*notebook_home.glob("nbflow.db*")] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NBFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://nobody@127.0.0.1:1/none"),
        ("NBFLOW__DATABASE__SQL_ALCHEMY_CONN", "mysql://nobody@127.0.0.1/none"),
        ("NBFLOW__CORE__PARALLELISM", "many"),
    ],
)
def test_tab_with_a_metastore_that_cannot_be_opened_offers_nothing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    end_session()
    with monkeypatch.context() as patched:
        patched.setenv(name, value)
        assert [offered(line) for line in LINES] == [[]] * len(LINES)
        end_session()
    assert capfd.readouterr() == ("", "")


def test_files_are_offered_where_nbflow_has_no_name(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "pools.json").write_text("{}")

    assert "pools.json" in shell.complete("!nbflow pools import po")
