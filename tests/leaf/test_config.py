"""Settings: the sources of a value, refusals, and the output generated from the table of options."""

from __future__ import annotations

import stat
import sys
import threading
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from nbflow import config
from nbflow.config import HIDDEN, SECTIONS, Settings, default_toml, prepare_home, write_private
from nbflow.errors import ConfigError


@pytest.fixture
def load(tmp_path):
    """Load settings from a file's text and an environment."""

    def load(text: str = "", **environ: str) -> Settings:
        (tmp_path / "nbflow.toml").write_text(text)
        return Settings.load(environ, tmp_path, cpu_count=2)

    return load


# ---------------------------------------------------------------------------------------------------- home and sources


def test_the_home_is_the_argument_then_nbflow_home_then_the_default(tmp_path):
    environ = {"NBFLOW_HOME": str(tmp_path / "named"), "HOME": str(tmp_path / "user")}
    homes = [
        Settings.load(environ, tmp_path / "argument").home,
        Settings.load(environ).home,
        Settings.load({"HOME": str(tmp_path / "user")}).home,
        Settings.load({"HOME": str(tmp_path / "user"), "NBFLOW_HOME": "~/flows"}).home,
    ]
    assert homes == [tmp_path / "argument", tmp_path / "named", tmp_path / "user/nbflow", tmp_path / "user/flows"]


def test_defaults_live_in_the_home(load, tmp_path):
    settings = load()
    assert (settings.core.dags_folder, settings.database.sql_alchemy_conn) == (
        tmp_path / "dags",
        f"sqlite:///{tmp_path}/nbflow.db",
    )


def test_loading_creates_nothing(tmp_path):
    Settings.load({}, tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("", {}, (16, "default")),
        ("max_active_runs_per_dag = 3", {}, (3, "nbflow.toml [core] max_active_runs_per_dag")),
        (
            "max_active_runs_per_dag = 3",
            {"AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG": "4"},
            (4, "AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG"),
        ),
        (
            "max_active_runs_per_dag = 3",
            {"AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG": "4", "NBFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG": "5"},
            (5, "NBFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG"),
        ),
    ],
)
def test_a_value_has_the_source_with_the_highest_priority(load, text, environ, expected):
    settings = load(f"[core]\n{text}", **environ)
    source = settings.sources.get("core.max_active_runs_per_dag", "default")
    assert (settings.core.max_active_runs_per_dag, source) == expected


def test_airflows_other_spellings_of_an_option_are_read(load):
    settings = load(AIRFLOW__CORE__DAG_CONCURRENCY="7", AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL="9")
    assert (settings.core.max_active_tasks_per_dag, settings.dag_processor.refresh_interval) == (7, 9.0)


def test_airflows_metastore_is_never_used(load, tmp_path):
    settings = load(AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="postgresql://airflow@db/airflow")
    assert settings.database.sql_alchemy_conn == f"sqlite:///{tmp_path}/nbflow.db"


def test_options_that_only_airflow_has_are_ignored(load):
    assert load(AIRFLOW__WEBSERVER__RBAC="True").sources == {}


# --------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("word", ["True", "true", "1", "yes", "ON", " t "])
def test_words_for_true(load, word):
    assert load(NBFLOW__CORE__LOAD_EXAMPLES=word).core.load_examples is True


@pytest.mark.parametrize(
    (("name", "value", "message")),
    [
        ("CORE__LOAD_EXAMPLES", "maybe", "expected true or false, got 'maybe'"),
        ("CORE__PARALLELISM", "many", "expected a whole number, got 'many'"),
        ("CORE__PARALLELISM", "-1", "expected at least 0, got '-1'"),
        ("CORE__KILLED_TASK_CLEANUP_TIME", "nan", "expected a number, got 'nan'"),
        ("CORE__EXECUTOR", "LocalExecutr", "Did you mean 'LocalExecutor'?"),
        ("CORE__PARALELISM", "1", "[core] has no option 'paralelism'. Did you mean 'parallelism'?"),
        ("CORE__CATCHUP_BY_DEFAULT", "1", "[core] has no option 'catchup_by_default'. It belongs in [scheduler]."),
        ("COER__PARALLELISM", "1", "there is no section [coer]. Did you mean 'core'?"),
        ("CORE__PARALLELISM_CMD", "echo 1", "[core] has no option 'parallelism_cmd'."),
    ],
)
def test_an_invalid_value_is_refused_with_its_source(load, name, value, message):
    with pytest.raises(ConfigError) as caught:
        load(**{f"NBFLOW__{name}": value})
    assert str(caught.value).startswith(f"NBFLOW__{name}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[core]\nparalelism = 1", "[core] has no option 'paralelism'. Did you mean 'parallelism'?"),
        ("parallelism = 1", "'parallelism' is outside a [section]"),
        ("[core", "nbflow.toml: "),
        ("[core]\nload_examples = 3", "expected true or false, got 3"),
    ],
)
def test_errors_of_the_file_are_refused_with_its_name(load, text, message):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert "nbflow.toml" in str(caught.value)
    assert message in str(caught.value)


def test_a_choice_is_read_in_any_case(load):
    assert load(NBFLOW__DATABASE__SYNCHRONOUS="full").database.synchronous == "FULL"


def test_an_empty_value_means_no_timeout(load):
    assert load(NBFLOW__CORE__DEFAULT_TASK_EXECUTION_TIMEOUT="").core.default_task_execution_timeout is None


def test_names_are_comma_separated_in_the_environment_and_a_list_in_the_file(load):
    from_environ = load(NBFLOW__CORE__SENSITIVE_VAR_CONN_NAMES="pin, iban ,")
    from_file = load('[core]\nsensitive_var_conn_names = ["pin", "iban"]')
    assert from_environ.core.sensitive_var_conn_names == from_file.core.sensitive_var_conn_names == ("pin", "iban")


def test_paths_are_relative_to_the_home_or_the_users_home(load, tmp_path):
    settings = load(
        HOME="/users/x", NBFLOW__CORE__DAGS_FOLDER="flows/../pipelines", NBFLOW__LOGGING__BASE_LOG_FOLDER="~/logs"
    )
    assert (settings.core.dags_folder, settings.logging.base_log_folder) == (
        tmp_path / "pipelines",
        Path("/users/x/logs"),
    )


@pytest.mark.parametrize(("cores", "slots"), [(1, 4), (2, 4), (8, 16)])
def test_parallelism_follows_the_cores_unless_set(tmp_path, cores, slots):
    assert Settings.load({}, tmp_path, cpu_count=cores).core.parallelism == slots


# -------------------------------------------------------------------------------------------------------------- secrets


def test_a_sensitive_value_may_come_from_a_command(load):
    settings = load(NBFLOW__CORE__FERNET_KEY_CMD=f"{sys.executable} -c \"print('from a command')\"")
    assert (settings.core.fernet_key, settings.sources["core.fernet_key"]) == (
        "from a command",
        "NBFLOW__CORE__FERNET_KEY_CMD",
    )


def test_the_plain_value_wins_over_its_variants(load):
    settings = load(NBFLOW__CORE__FERNET_KEY="plain", NBFLOW__CORE__FERNET_KEY_CMD="false")
    assert settings.core.fernet_key == "plain"


def test_a_failing_commands_output_is_not_shown(load):
    with pytest.raises(ConfigError) as caught:
        load(NBFLOW__CORE__FERNET_KEY_CMD=f"{sys.executable} -c \"print('hush'); raise SystemExit(3)\"")
    assert str(caught.value) == "NBFLOW__CORE__FERNET_KEY_CMD: the command exited with code 3."


def test_a_sensitive_value_may_come_from_a_secrets_backend(tmp_path):
    (tmp_path / "nbflow.toml").write_text('[database]\nsql_alchemy_conn_secret = "prod/db"')
    settings = Settings.load({}, tmp_path, secret={"prod/db": "postgresql://h/db"}.get)
    assert settings.database.sql_alchemy_conn == "postgresql://h/db"


def test_a_secret_that_no_backend_knows_is_an_error(load):
    with pytest.raises(ConfigError, match="no secrets backend has 'nope'"):
        load(NBFLOW__DATABASE__SQL_ALCHEMY_CONN_SECRET="nope")


def test_listings_hide_sensitive_values(load):
    rows = {f"{row.section}.{row.key}": row.value for row in load(NBFLOW__CORE__FERNET_KEY="hush").rows()}
    assert (rows["core.fernet_key"], rows["core.parallelism"]) == (HIDDEN, "4")


# ------------------------------------------------------------------------------------------------------------ the table


def test_every_option_has_a_sentence_and_a_default_that_reads_back():
    for section, kind in SECTIONS.items():
        for spec in fields(kind):
            assert spec.metadata["doc"].endswith("."), (section, spec.name)
            assert config._parse(spec, config.to_text(spec.default), "default") == spec.default, (section, spec.name)


def test_the_settings_have_one_field_a_section():
    assert [spec.name for spec in fields(Settings) if spec.name not in ("home", "sources")] == list(SECTIONS)


def test_the_generated_file_with_everything_uncommented_gives_the_defaults(load, tmp_path):
    # Given a new home's file with each option uncommented (an option's line holds " = ")
    lines = default_toml().splitlines()
    text = "\n".join(line.removeprefix("# ") if " = " in line else line for line in lines)
    assert sum(map(len, tomllib.loads(text).values())) == sum(len(fields(kind)) for kind in SECTIONS.values())
    # When it is loaded
    uncommented = load(text)
    # Then nothing differs from no file at all
    defaults = Settings.load({}, tmp_path / "other", cpu_count=2)
    assert [row.value.replace(str(tmp_path / "other"), str(tmp_path)) for row in defaults.rows()] == [
        row.value for row in uncommented.rows()
    ]


def test_get_returns_a_value_and_refuses_an_unknown_name(load):
    settings = load()
    assert settings.get("core", "executor") == "LocalExecutor"
    with pytest.raises(ConfigError, match="Did you mean 'executor'"):
        settings.get("core", "exekutor")


# ----------------------------------------------------------------------------------------------------------- a new home


def test_a_new_home_is_private_to_its_owner(home):
    prepare_home(Settings.load({}, home))
    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in [home, *home.iterdir()]}
    assert modes == {
        "nbflow-home": "0o700",
        "dags": "0o700",
        "logs": "0o700",
        "nbflow.toml": "0o600",
    }


def test_preparing_a_home_again_changes_nothing(home):
    prepare_home(Settings.load({}, home))
    (home / "nbflow.toml").write_text("[core]\nparallelism = 9\n")
    prepare_home(Settings.load({}, home))
    assert Settings.load({}, home).core.parallelism == 9


def test_of_many_writers_of_a_private_file_one_wins_and_all_see_its_content(tmp_path):
    # Given 8 threads that start together
    target, start, won = tmp_path / "key", threading.Barrier(8), []

    def write(number: int) -> None:
        start.wait()
        if write_private(target, str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then one thread has written the file, and there is no other file
    assert (won, [path.name for path in tmp_path.iterdir()]) == ([int(target.read_text())], ["key"])
