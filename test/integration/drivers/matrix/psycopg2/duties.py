"""The duties of a driver with psycopg2. One line of JSON for each: {"duty": ..., "answer": ...}."""

import hashlib
import io
import json
import os
import select
import threading
from datetime import date
from decimal import Decimal

import psycopg2

OTHER = os.environ["OTHER_PORT"]
CLOSED = os.environ["CLOSED_PORT"]


def connect(**parameters):
    """What is not given comes from PGHOST, PGPORT and so on."""
    connection = psycopg2.connect("", **parameters)
    connection.autocommit = True
    return connection


def ask(connection, text, values=None):
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def failure(work, *arguments, **named):
    try:
        work(*arguments, **named)
    except psycopg2.Error as error:
        return error
    raise AssertionError(f"{arguments} succeeded")


def refusal(part, **parameters):
    message = str(failure(connect, **parameters))
    return "refused" if part in message else message


def tls():
    encrypted, clear = (connect(sslmode=mode, host="127.0.0.1") for mode in ("require", "disable"))
    modes = [ask(connection, "SELECT 1")[0][0] for connection in (encrypted, clear)]
    return {"modes": modes, "otherName": refusal("does not match host name", host="127.0.0.1")}


def login():
    return {"wrong": refusal("password authentication failed", password="wrong")}


def hosts():
    both = {"host": "localhost,localhost", "port": f"{CLOSED},{os.environ['PGPORT']}"}
    writable = ask(connect(**both, target_session_attrs="read-write"), "SHOW transaction_read_only")
    refused = refusal("is not read-only", **both, target_session_attrs="read-only")
    return {"readOnly": writable[0][0], "otherwise": refused}


def values():
    given = (-7, 2**63 - 1, Decimal("12345678901234567890.123"), 0.1, "it's \"ä€😀\" \\ %", True, None)
    rest = (date(2024, 2, 29), bytes([0, 1, 255, 92, 39]))
    ask(db, "INSERT INTO kinds VALUES (1" + ", %s" * 9 + ")", given + rest)
    [(_, i, b, n, f, t, o, nothing, d, y)] = ask(db, "SELECT * FROM kinds")
    return {"row": [i, str(b), str(n), f, t, o, nothing, d.isoformat(), bytes(y).hex()]}


def prepared():
    ask(db, "PREPARE put AS INSERT INTO prepared VALUES ($1, $2)")
    ask(db, "PREPARE get AS SELECT name FROM prepared WHERE id = $1")
    ask(db, "PREPARE star AS SELECT * FROM prepared WHERE id = $1")
    for number in range(1, 21):
        ask(db, "EXECUTE put (%s, %s)", (number, f"name {number}"))
    before = [ask(db, "EXECUTE get (7)")[0][0], len(ask(db, "EXECUTE star (7)")[0])]
    ask(other, "ALTER TABLE prepared ADD note text")
    after = [ask(db, "EXECUTE get (7)")[0][0], failure(ask, db, "EXECUTE star (7)").pgcode]
    ask(db, "EXECUTE put (21, 'last')")
    return {"count": ask(db, "SELECT count(*) FROM prepared")[0][0], "before": before, "after": after}


def pipeline():
    """Several statements in one message."""
    count = "SELECT count(*) FROM items WHERE id BETWEEN 101 AND 199"
    add = "INSERT INTO items VALUES (%s, %s);"
    [(whole,)] = ask(db, add * 10 + count, [part for id in range(101, 111) for part in (id, f"piped {id}")])
    error = failure(ask, db, add * 3 + count, [111, "a", 101, "b", 112, "c"]).pgcode
    return {"count": whole, "error": error, "after": ask(db, count)[0][0]}


def copy():
    with db.cursor() as cursor:
        cursor.copy_from(io.StringIO("".join(f"{id}\tcopied {id}\n" for id in range(1, 1001))), "copied")
        out = io.StringIO()
        cursor.copy_expert("COPY (SELECT * FROM copied ORDER BY id) TO STDOUT", out)
        error = failure(cursor.copy_from, io.StringIO("1001\tgood\nx\tbad\n"), "copied").pgcode
    [(count,)] = ask(db, "SELECT count(*) FROM copied")
    return {"out": hashlib.md5(out.getvalue().encode()).hexdigest(), "error": error, "count": count}


def cancel():
    def when_it_sleeps():
        ask(connect(), "SELECT await_sleep(%s)", (db.info.backend_pid,))
        db.cancel()

    thread = threading.Thread(target=when_it_sleeps)
    thread.start()
    error = failure(ask, db, "SELECT pg_sleep(60)").pgcode
    thread.join()
    return {"error": error, "after": ask(db, "SELECT 1")[0][0]}


def errors():
    syntax = failure(ask, db, "SELECT * FORM items")
    ask(db, "INSERT INTO items VALUES (1, 'one')")
    unique = failure(ask, db, "INSERT INTO items VALUES (2, 'one')")
    ask(db, "BEGIN")
    division = failure(ask, db, "SELECT 1 / 0").pgcode
    failed = failure(ask, db, "SELECT 1").pgcode
    ask(db, "ROLLBACK")
    return {
        "syntax": syntax.pgcode,
        "position": int(syntax.diag.statement_position),
        "unique": unique.pgcode,
        "constraint": unique.diag.constraint_name,
        "detail": unique.diag.message_detail,
        "division": division,
        "failed": failed,
    }


def notify():
    ask(db, "LISTEN news")
    ask(other, "SELECT pg_notify('news', 'ä from another')")
    while not db.notifies:
        select.select([db], [], [])
        db.poll()
    told = db.notifies.pop()
    ask(db, "UNLISTEN news")
    return {"told": [told.channel, told.payload]}


def large():
    data, text = os.urandom(10 << 20), "ä€" * (1 << 20)
    ask(db, "INSERT INTO big VALUES (1, %s, %s)", (data, text))
    [(got, written)] = ask(db, "SELECT data, text FROM big")
    return {"data": bytes(got) == data, "text": written == text}


def transactions():
    db.autocommit = False
    ask(db, "INSERT INTO items VALUES (301, 'kept')")
    ask(db, "SAVEPOINT here")
    failure(ask, db, "INSERT INTO items VALUES (301, 'twice')")
    ask(db, "ROLLBACK TO here")
    ask(db, "INSERT INTO items VALUES (302, 'kept, too')")
    db.commit()
    ask(db, "INSERT INTO items VALUES (303, 'taken back')")
    db.rollback()
    levels = []
    for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
        db.set_session(isolation_level=level)
        levels.append(ask(db, "SHOW transaction_isolation")[0][0])
        db.rollback()
    db.set_session(isolation_level="DEFAULT", readonly=True)
    refused = failure(ask, db, "INSERT INTO items VALUES (304, 'refused')").pgcode
    db.rollback()
    db.set_session(readonly=False, autocommit=True)
    kept = [id for (id,) in ask(db, "SELECT id FROM items WHERE id BETWEEN 301 AND 399 ORDER BY id")]
    return {"kept": kept, "levels": levels, "readOnly": refused}


def conflict():
    """A serialization failure, and the same transaction once more."""
    codes = []
    for attempt in range(2):
        try:
            ask(db, "BEGIN ISOLATION LEVEL REPEATABLE READ")
            [(value,)] = ask(db, "SELECT value FROM counter")
            if attempt == 0:
                ask(other, "UPDATE counter SET value = value + 1")
            ask(db, "UPDATE counter SET value = %s", (value + 1,))
            ask(db, "COMMIT")
        except psycopg2.errors.SerializationFailure as error:
            codes.append(error.pgcode)
            ask(db, "ROLLBACK")
    return {"codes": codes, "value": ask(db, "SELECT value FROM counter")[0][0]}


def cursor():
    with connect() as connection:
        connection.autocommit = False
        with connection.cursor("numbers") as numbers:
            numbers.itersize = 100
            numbers.execute("SELECT g FROM generate_series(1, 2500) g")
            total = numbers.fetchone()[0]
            ask(connection, "INSERT INTO items VALUES (401, 'in between')")
            total += sum(number for (number,) in numbers)
    return {"sum": total}


def elsewhere():
    """An own write is seen on another node at once."""
    seen = 0
    for id in range(201, 221):
        ask(db, "INSERT INTO items VALUES (%s, %s)", (id, f"seen {id}"))
        seen += ask(other, "SELECT count(*) FROM items WHERE id = %s", (id,))[0][0]
    return {"seen": seen}


db = connect()
other = connect(port=OTHER)
for duty in (
    tls, login, hosts, values, prepared, pipeline, copy, cancel, errors, notify, large, transactions,
    conflict, cursor, elsewhere,
):
    print(json.dumps({"duty": duty.__name__, "answer": duty()}), flush=True)
