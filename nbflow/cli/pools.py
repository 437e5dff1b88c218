"""pools: list, get, set, delete, import, export."""

from __future__ import annotations

import json

from nbflow.cli import output
from nbflow.cli.invocation import Call
from nbflow.cli.private_files import write_private_text
from nbflow.cli.terminal_command import OUTPUT, terminal_command
from nbflow.commands.pools import pool_row

LIST_COLUMNS = ("pool", "slots", "description", "include_deferred", "taken")


def list_pools(call: Call) -> None:
    from nbflow.views.pools import PoolsQuery

    call.show([output.fields_of(row, LIST_COLUMNS) for row in call.fetch(PoolsQuery()).rows], columns=LIST_COLUMNS)


def get(call: Call) -> None:
    from nbflow.services.variables_connections_pools import find_pool

    call.show([pool_row(find_pool(call.operations, call.args.pool))])


def export(call: Call) -> None:
    pools = {
        pool.name: {
            "slots": pool.slots,
            "description": pool.description,
            "include_deferred": pool.include_deferred,
        }
        for pool in call.app.store.pools()
    }
    if write_private_text(call.args.file, json.dumps(pools, indent=4) + "\n"):
        output.note(f"{len(pools)} pools were written to {call.args.file}.")


COMMANDS = (
    terminal_command("pools list", OUTPUT, run=list_pools),
    terminal_command("pools get", OUTPUT, run=get),
    terminal_command("pools export", run=export),
)
