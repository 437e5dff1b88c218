"""Commands on pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbflow.command_arguments import INTEGER, POOL, Values, argument, switch
from nbflow.commands.base import Command, Preview, Result, Row
from nbflow.commands.options import INPUT_FILE, OUTPUT_FILE
from nbflow.errors import NbflowError

if TYPE_CHECKING:
    from nbflow.commands.context import Context
    from nbflow.store.base import Pool

POOL_NAME = argument("pool", type=POOL, help="Name of the pool.")


def pool_row(pool: Pool) -> Row:
    """The row of a pool in ``pools get``."""
    return {
        "pool": pool.name,
        "slots": pool.slots,
        "description": pool.description,
        "include_deferred": pool.include_deferred,
    }


def _set(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import set_pools
    from nbflow.store.base import Pool

    pool = Pool(name=args.pool, slots=args.slots, description=args.description, include_deferred=args.include_deferred)
    set_pools(context.operations, [pool])
    return Result(text=f"Pool {pool.name} has {pool.slots} slots.", rows=(pool_row(pool),), value=pool)


def _delete(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import delete_pool

    pool = delete_pool(context.operations, args.pool)
    return Result(text=f"Pool {pool.name} was deleted.", rows=(pool_row(pool),), value=pool)


def _delete_preview(context: Context, args: Values) -> Preview:
    from nbflow.services.variables_connections_pools import find_pool

    pool = find_pool(context.operations, args.pool)
    return Preview(text=f"Pool {pool.name} would be deleted.", items=(pool_row(pool),))


def _import(context: Context, args: Values) -> Result:
    from nbflow.services.variables_connections_pools import set_pools

    pools = _read(args.file)
    set_pools(context.operations, pools)
    return Result(text=f"{len(pools)} pools were imported.", rows=tuple(map(pool_row, pools)), value=pools)


def _import_preview(context: Context, args: Values) -> Preview:
    pools = _read(args.file)
    return Preview(text=f"{len(pools)} pools would be imported.", items=tuple(map(pool_row, pools)))


def _read(file: str) -> list[Pool]:
    from nbflow.commands.json_files import read_json

    return [_pool(file, name, entry) for name, entry in read_json(file).items()]


def _pool(file: str, name: str, entry: Any) -> Pool:
    from nbflow.store.base import Pool

    try:
        return Pool(
            name=name,
            slots=int(entry["slots"]),
            description=str(entry.get("description") or ""),
            include_deferred=bool(entry.get("include_deferred", False)),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise NbflowError(f"{file}: invalid pool {name!r}.", hint='Write {"slots": 5, "description": "..."}.') from None


COMMANDS = (
    Command(
        name="pools list",
        magic="%nbflow pools",
        help="List pools and their used slots.",
        permission="pools.read",
    ),
    Command(name="pools get", help="Show a pool.", permission="pools.read", arguments=(POOL_NAME,), example="api"),
    Command(
        name="pools set",
        help="Create or change a pool.",
        permission="pools.edit",
        changes=True,
        operation="set_pool",
        arguments=(
            POOL_NAME,
            argument("slots", type=INTEGER, help="Number of slots; -1: no limit."),
            argument("description", required=False, default="", help="Description."),
            switch("--include-deferred", help="Count deferred tasks as using slots."),
        ),
        example='api 3 "calls of the API"',
        run=_set,
    ),
    Command(
        name="pools delete",
        help="Delete a pool.",
        permission="pools.edit",
        changes=True,
        operation="delete_pool",
        arguments=(POOL_NAME,),
        example="api",
        run=_delete,
        preview=_delete_preview,
    ),
    Command(
        name="pools export",
        help="Write all pools to a JSON file.",
        permission="pools.read",
        arguments=(OUTPUT_FILE,),
        example="pools.json",
    ),
    Command(
        name="pools import",
        help="Import pools from a JSON file.",
        permission="pools.edit",
        changes=True,
        operation="set_pool",
        arguments=(INPUT_FILE,),
        example="pools.json",
        run=_import,
        preview=_import_preview,
    ),
)
