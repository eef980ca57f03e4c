"""The duties of a driver with psycopg 3, and its pipeline mode. One line of JSON for each."""

import hashlib
import json
import os
import threading
from datetime import date
from decimal import Decimal

import psycopg
from psycopg import IsolationLevel

OTHER = os.environ["OTHER_PORT"]
CLOSED = os.environ["CLOSED_PORT"]
ADD = "INSERT INTO items VALUES (%s, %s)"


def connect(**parameters):
    """What is not given comes from PGHOST, PGPORT and so on."""
    return psycopg.connect("", autocommit=True, **parameters)


def one(connection, text, values=None, **options):
    return connection.execute(text, values, **options).fetchone()[0]


def failure(work, *arguments, **named):
    try:
        work(*arguments, **named)
    except psycopg.Error as error:
        return error
    raise AssertionError(f"{arguments} succeeded")


def refusal(part, **parameters):
    message = str(failure(connect, **parameters))
    return "refused" if part in message else message


def tls():
    modes = [one(connect(sslmode=mode, host="127.0.0.1"), "SELECT 1") for mode in ("require", "disable")]
    return {"modes": modes, "otherName": refusal("does not match host name", host="127.0.0.1")}


def login():
    return {"wrong": refusal("password authentication failed", password="wrong")}


def hosts():
    both = {"host": "localhost,localhost", "port": f"{CLOSED},{os.environ['PGPORT']}"}
    writable = connect(**both, target_session_attrs="read-write")
    refused = refusal("is not read-only", **both, target_session_attrs="read-only")
    return {"readOnly": one(writable, "SHOW transaction_read_only"), "otherwise": refused}


def values():
    given = (-7, 2**63 - 1, Decimal("12345678901234567890.123"), 0.1, "it's \"ä€😀\" \\ %", True, None)
    rest = (date(2024, 2, 29), bytes([0, 1, 255, 92, 39]))
    db.execute("INSERT INTO kinds VALUES (1" + ", %s" * 9 + ")", given + rest)
    with db.cursor(binary=True) as cursor:
        _, i, b, n, f, t, o, nothing, d, y = cursor.execute("SELECT * FROM kinds").fetchone()
    return {"row": [i, str(b), str(n), f, t, o, nothing, d.isoformat(), y.hex()]}


def prepared():
    get, star = "SELECT name FROM prepared WHERE id = %s", "SELECT * FROM prepared WHERE id = %s"
    put = "INSERT INTO prepared VALUES (%s, %s)"
    for number in range(1, 21):
        db.execute(put, (number, f"name {number}"), prepare=True)
    columns = len(db.execute(star, (7,), prepare=True).fetchone())
    before = [one(db, get, (7,), prepare=True), columns]
    other.execute("ALTER TABLE prepared ADD note text")
    refused = failure(db.execute, star, (7,), prepare=True).sqlstate
    after = [one(db, get, (7,), prepare=True), refused]
    db.execute(put, (21, "last"), prepare=True)
    return {"count": one(db, "SELECT count(*) FROM prepared"), "before": before, "after": after}


def pipeline():
    count = "SELECT count(*) FROM items WHERE id BETWEEN 101 AND 199"
    with db.pipeline():
        for id in range(101, 111):
            db.execute(ADD, (id, f"piped {id}"))
        whole = one(db, count)

    def with_an_error():
        with db.pipeline():
            for id in (111, 101, 112):
                db.execute(ADD, (id, f"again {id}"))

    return {"count": whole, "error": failure(with_an_error).sqlstate, "after": one(db, count)}


def copy():
    def copy_in(rows):
        with db.cursor() as cursor, cursor.copy("COPY copied FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    copy_in((id, f"copied {id}") for id in range(1, 1001))
    with db.cursor() as cursor, cursor.copy("COPY (SELECT * FROM copied ORDER BY id) TO STDOUT") as out:
        text = b"".join(out)
    error = failure(copy_in, [(1001, "good"), ("x", "bad")]).sqlstate
    count = one(db, "SELECT count(*) FROM copied")
    return {"out": hashlib.md5(text).hexdigest(), "error": error, "count": count}


def cancel():
    def when_it_sleeps():
        one(connect(), "SELECT await_sleep(%s)", (db.info.backend_pid,))
        db.cancel()

    thread = threading.Thread(target=when_it_sleeps)
    thread.start()
    error = failure(db.execute, "SELECT pg_sleep(60)").sqlstate
    thread.join()
    return {"error": error, "after": one(db, "SELECT 1")}


def errors():
    syntax = failure(db.execute, "SELECT * FORM items")
    db.execute("INSERT INTO items VALUES (1, 'one')")
    unique = failure(db.execute, ADD, (2, "one"))
    db.execute("BEGIN")
    division = failure(db.execute, "SELECT 1 / 0").sqlstate
    failed = failure(db.execute, "SELECT 1").sqlstate
    db.execute("ROLLBACK")
    return {
        "syntax": syntax.sqlstate,
        "position": int(syntax.diag.statement_position),
        "unique": unique.sqlstate,
        "constraint": unique.diag.constraint_name,
        "detail": unique.diag.message_detail,
        "division": division,
        "failed": failed,
    }


def notify():
    db.execute("LISTEN news")
    other.execute("SELECT pg_notify('news', 'ä from another')")
    told = next(db.notifies())
    db.execute("UNLISTEN news")
    return {"told": [told.channel, told.payload]}


def large():
    data, text = os.urandom(10 << 20), "ä€" * (1 << 20)
    db.execute("INSERT INTO big VALUES (1, %b, %s)", (data, text))
    with db.cursor(binary=True) as cursor:
        got, written = cursor.execute("SELECT data, text FROM big").fetchone()
    return {"data": got == data, "text": written == text}


def transactions():
    with db.transaction():
        db.execute(ADD, (301, "kept"))

        def twice():
            with db.transaction():
                db.execute(ADD, (301, "twice"))

        failure(twice)
        db.execute(ADD, (302, "kept, too"))
    with db.transaction() as taken_back:
        db.execute(ADD, (303, "taken back"))
        raise psycopg.Rollback(taken_back)
    levels = []
    for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE):
        db.isolation_level = level
        with db.transaction():
            levels.append(one(db, "SHOW transaction_isolation"))
    db.isolation_level, db.read_only = None, True

    def read_only():
        with db.transaction():
            db.execute(ADD, (304, "refused"))

    refused = failure(read_only).sqlstate
    db.read_only = None
    kept = [id for (id,) in db.execute("SELECT id FROM items WHERE id BETWEEN 301 AND 399 ORDER BY id")]
    return {"kept": kept, "levels": levels, "readOnly": refused}



def conflict():
    """A serialization failure, and the same transaction once more."""
    codes = []
    db.isolation_level = IsolationLevel.REPEATABLE_READ
    for attempt in range(2):
        try:
            with db.transaction():
                value = one(db, "SELECT value FROM counter")
                if attempt == 0:
                    other.execute("UPDATE counter SET value = value + 1")
                db.execute("UPDATE counter SET value = %s", (value + 1,))
        except psycopg.errors.SerializationFailure as error:
            codes.append(error.sqlstate)
    db.isolation_level = None
    return {"codes": codes, "value": one(db, "SELECT value FROM counter")}


def cursor():
    with db.transaction(), db.cursor("numbers") as numbers:
        numbers.itersize = 100
        numbers.execute("SELECT g FROM generate_series(1, 2500) g")
        total = numbers.fetchone()[0]
        db.execute(ADD, (401, "in between"))
        return {"sum": total + sum(number for (number,) in numbers)}


def elsewhere():
    """An own write is seen on another node at once."""
    seen = 0
    for id in range(201, 221):
        db.execute(ADD, (id, f"seen {id}"))
        seen += one(other, "SELECT count(*) FROM items WHERE id = %s", (id,))
    return {"seen": seen}


db = connect()
other = connect(port=OTHER)
for duty in (
    tls, login, hosts, values, prepared, pipeline, copy, cancel, errors, notify, large, transactions,
    conflict, cursor, elsewhere,
):
    print(json.dumps({"duty": duty.__name__, "answer": duty()}), flush=True)
