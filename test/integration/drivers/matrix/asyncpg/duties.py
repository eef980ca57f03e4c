"""The duties of a driver with asyncpg, which speaks the protocol itself. One line of JSON for each."""

import asyncio
import hashlib
import io
import json
import os
from datetime import date
from decimal import Decimal

import asyncpg

HERE = int(os.environ["PGPORT"])
OTHER = int(os.environ["OTHER_PORT"])
CLOSED = int(os.environ["CLOSED_PORT"])
ADD = "INSERT INTO items VALUES ($1, $2)"


def connect(**parameters):
    """What is not given comes from PGHOST, PGSSLMODE, PGSSLROOTCERT and so on."""
    return asyncpg.connect(**{"port": HERE, **parameters})


async def failure(work):
    try:
        await work
    except (asyncpg.PostgresError, OSError) as error:
        return error
    raise AssertionError("it succeeded")


async def refusal(part, **parameters):
    message = str(await failure(connect(**parameters)))
    return "refused" if part in message else message


async def tls(db, other):
    modes = []
    for mode in ("require", "disable"):
        connection = await connect(ssl=mode, host="127.0.0.1")
        modes.append(await connection.fetchval("SELECT 1"))
        await connection.close()
    return {"modes": modes, "otherName": await refusal("IP address mismatch", host="127.0.0.1")}


async def login(db, other):
    return {"wrong": await refusal("password authentication failed", password="wrong")}


async def hosts(db, other):
    connection = await connect(host=["localhost", "localhost"], port=[CLOSED, HERE])
    writable = await connection.fetchval("SHOW transaction_read_only")
    await connection.close()
    return {"readOnly": writable}


async def values(db, other):
    given = (-7, 2**63 - 1, Decimal("12345678901234567890.123"), 0.1, "it's \"ä€😀\" \\ %", True, None)
    rest = (date(2024, 2, 29), bytes([0, 1, 255, 92, 39]))
    places = ", ".join(f"${number}" for number in range(1, 10))
    await db.execute(f"INSERT INTO kinds VALUES (1, {places})", *given, *rest)
    _, i, b, n, f, t, o, nothing, d, y = await db.fetchrow("SELECT * FROM kinds")
    return {"row": [i, str(b), str(n), f, t, o, nothing, d.isoformat(), y.hex()]}


async def prepared(db, other):
    put = await db.prepare("INSERT INTO prepared VALUES ($1, $2)")
    get = await db.prepare("SELECT name FROM prepared WHERE id = $1")
    star = await db.prepare("SELECT * FROM prepared WHERE id = $1")
    for number in range(1, 21):
        await put.fetch(number, f"name {number}")
    before = [await get.fetchval(7), len(await star.fetchrow(7))]
    await other.execute("ALTER TABLE prepared ADD note text")
    after = [await get.fetchval(7), (await failure(star.fetchrow(7))).sqlstate]
    await put.fetch(21, "last")
    return {"count": await db.fetchval("SELECT count(*) FROM prepared"), "before": before, "after": after}


async def pipeline(db, other):
    """executemany sends all of them before it reads an answer."""
    count = "SELECT count(*) FROM items WHERE id BETWEEN 101 AND 199"
    await db.executemany(ADD, [(id, f"piped {id}") for id in range(101, 111)])
    whole = await db.fetchval(count)
    error = await failure(db.executemany(ADD, [(id, f"again {id}") for id in (111, 101, 112)]))
    return {"count": whole, "error": error.sqlstate, "after": await db.fetchval(count)}


async def copy(db, other):
    rows = [(id, f"copied {id}") for id in range(1, 1001)]
    await db.copy_records_to_table("copied", records=rows)
    out = io.BytesIO()
    await db.copy_from_query("SELECT * FROM copied ORDER BY id", output=out)
    bad = db.copy_to_table("copied", source=io.BytesIO(b"1001\tgood\nx\tbad\n"))
    error = (await failure(bad)).sqlstate
    count = await db.fetchval("SELECT count(*) FROM copied")
    return {"out": hashlib.md5(out.getvalue()).hexdigest(), "error": error, "count": count}


async def cancel(db, other):
    """A task that is cancelled cancels its statement; what the server says then asyncpg keeps for itself."""
    sleeping = asyncio.create_task(db.execute("SELECT pg_sleep(60)"))
    watcher = await connect()
    await watcher.execute(f"SELECT await_sleep({db.get_server_pid()})")
    sleeping.cancel()
    await asyncio.wait([sleeping])
    assert sleeping.cancelled()
    await watcher.close()
    return {"after": await db.fetchval("SELECT 1")}


async def errors(db, other):
    syntax = await failure(db.execute("SELECT * FORM items"))
    await db.execute(ADD, 1, "one")
    unique = await failure(db.execute(ADD, 2, "one"))
    await db.execute("BEGIN")
    division = (await failure(db.fetch("SELECT 1 / 0"))).sqlstate
    failed = (await failure(db.fetch("SELECT 1"))).sqlstate
    await db.execute("ROLLBACK")
    return {
        "syntax": syntax.sqlstate,
        "position": int(syntax.position),
        "unique": unique.sqlstate,
        "constraint": unique.constraint_name,
        "detail": unique.detail,
        "division": division,
        "failed": failed,
    }


async def notify(db, other):
    told = asyncio.get_running_loop().create_future()
    await db.add_listener("news", lambda _, pid, channel, payload: told.set_result([channel, payload]))
    await other.execute("SELECT pg_notify('news', $1)", "ä from another")
    return {"told": await told}


async def large(db, other):
    data, text = os.urandom(10 << 20), "ä€" * (1 << 20)
    await db.execute("INSERT INTO big VALUES (1, $1, $2)", data, text)
    got, written = await db.fetchrow("SELECT data, text FROM big")
    return {"data": got == data, "text": written == text}


async def transactions(db, other):
    async with db.transaction():
        await db.execute(ADD, 301, "kept")

        async def twice():
            async with db.transaction():
                await db.execute(ADD, 301, "twice")

        await failure(twice())
        await db.execute(ADD, 302, "kept, too")
    taken_back = db.transaction()
    await taken_back.start()
    await db.execute(ADD, 303, "taken back")
    await taken_back.rollback()
    levels = []
    for level in ("read_committed", "repeatable_read", "serializable"):
        async with db.transaction(isolation=level):
            levels.append(await db.fetchval("SHOW transaction_isolation"))

    async def read_only():
        async with db.transaction(isolation="serializable", readonly=True):
            await db.execute(ADD, 304, "refused")

    refused = (await failure(read_only())).sqlstate
    kept = await db.fetch("SELECT id FROM items WHERE id BETWEEN 301 AND 399 ORDER BY id")
    return {"kept": [row["id"] for row in kept], "levels": levels, "readOnly": refused}


async def conflict(db, other):
    """A serialization failure, and the same transaction once more."""
    codes = []
    for attempt in range(2):
        try:
            async with db.transaction(isolation="repeatable_read"):
                value = await db.fetchval("SELECT value FROM counter")
                if attempt == 0:
                    await other.execute("UPDATE counter SET value = value + 1")
                await db.execute("UPDATE counter SET value = $1", value + 1)
        except asyncpg.SerializationError as error:
            codes.append(error.sqlstate)
    return {"codes": codes, "value": await db.fetchval("SELECT value FROM counter")}


async def cursor(db, other):
    async with db.transaction():
        numbers = await db.cursor("SELECT g FROM generate_series(1, 2500) g")
        total = (await numbers.fetchrow())[0]
        await db.execute(ADD, 401, "in between")
        while rows := await numbers.fetch(100):
            total += sum(row[0] for row in rows)
    return {"sum": total}


async def elsewhere(db, other):
    """An own write is seen on another node at once."""
    seen = 0
    for id in range(201, 221):
        await db.execute(ADD, id, f"seen {id}")
        seen += await other.fetchval("SELECT count(*) FROM items WHERE id = $1", id)
    return {"seen": seen}


async def main():
    db = await connect()
    other = await connect(port=OTHER)
    for duty in (
        tls, login, hosts, values, prepared, pipeline, copy, cancel, errors, notify, large, transactions,
        conflict, cursor, elsewhere,
    ):
        print(json.dumps({"duty": duty.__name__, "answer": await duty(db, other)}), flush=True)


asyncio.run(main())
