"""pools: how many slots there are for what must not run too often at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nbflow.arguments import INTEGER, argument, switch
from nbflow.cli import output
from nbflow.cli.declaring import OUTPUT, Command
from nbflow.cli.invocation import Call
from nbflow.cli.private_files import write_private_text
from nbflow.errors import NbflowError, PoolNotFound, did_you_mean
from nbflow.store.base import Pool

NAME = argument("pool", help="Name of the pool.")


def _row(pool: Pool) -> dict[str, Any]:
    return {
        "pool": pool.name,
        "slots": pool.slots,
        "description": pool.description,
        "include_deferred": pool.include_deferred,
    }


def list_pools(call: Call) -> None:
    taken = call.app.store.usage().pools
    call.show([_row(pool) | {"taken": taken.get(pool.name, 0)} for pool in call.app.store.pools()])


def get(call: Call) -> None:
    call.show([_row(_find(call))])


def _find(call: Call) -> Pool:
    name = call.args.pool
    pool = call.app.store.pool(name)
    if pool is None:
        names = [one.name for one in call.app.store.pools()]
        raise PoolNotFound(f"There is no pool {name!r}.{did_you_mean(name, names)}", hint="See: nbflow pools list.")
    return pool


def set_pool(call: Call) -> None:
    args = call.args
    pool = Pool(name=args.pool, slots=args.slots, description=args.description, include_deferred=args.include_deferred)
    _put(call, pool)
    call.show([_row(pool)])


def _put(call: Call, pool: Pool) -> None:
    if pool.slots < -1:
        raise NbflowError(f"Pool {pool.name} cannot have {pool.slots} slots.", hint="-1 is: no limit.")
    call.app.store.set_pool(pool, actor=call.actor, now=call.now())


def delete(call: Call) -> None:
    pool = _find(call)
    call.app.store.delete_pool(pool.name, actor=call.actor, now=call.now())
    call.show([_row(pool)])


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
        output.say(f"{len(pools)} pools were written to {call.args.file}.")


def import_pools(call: Call) -> None:
    content = read_json(call.args.file)
    pools = []
    for name, entry in content.items():
        try:
            pools.append(
                Pool(
                    name=name,
                    slots=int(entry["slots"]),
                    description=str(entry.get("description") or ""),
                    include_deferred=bool(entry.get("include_deferred", False)),
                )
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise NbflowError(
                f"{call.args.file}: {name!r} is not a pool.", hint='Write {"slots": 5, "description": "..."}.'
            ) from None
    for pool in pools:
        _put(call, pool)
    call.show([_row(pool) for pool in pools])


def read_json(file: str) -> dict[str, Any]:
    """A file that holds one JSON object. Raises NbflowError that names the fault's place."""
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as fault:
        raise NbflowError(f"{file} cannot be read: {fault.strerror}.") from None
    except ValueError as fault:
        raise NbflowError(f"{file} is not JSON: {fault}.") from None
    if not isinstance(content, dict):
        raise NbflowError(f"{file} must hold a JSON object.")
    return content


COMMANDS = (
    Command(
        name="pools list", help="All pools, and how many of their slots are taken.", run=list_pools, arguments=(OUTPUT,)
    ),
    Command(name="pools get", help="One pool.", run=get, arguments=(NAME, OUTPUT)),
    Command(
        name="pools set",
        help="Make or change a pool.",
        run=set_pool,
        arguments=(
            NAME,
            argument("slots", type=INTEGER, help="How many; -1: no limit."),
            argument("description", required=False, default="", help="What it is for."),
            switch("--include-deferred", help="Deferred tasks take slots too."),
            OUTPUT,
        ),
    ),
    Command(name="pools delete", help="Delete a pool.", run=delete, arguments=(NAME, OUTPUT)),
    Command(name="pools export", help="Write all pools to a JSON file.", run=export, arguments=(argument("file"),)),
    Command(
        name="pools import", help="Read pools from a JSON file.", run=import_pools, arguments=(argument("file"), OUTPUT)
    ),
)
