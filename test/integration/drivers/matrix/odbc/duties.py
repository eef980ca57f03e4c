"""The duties of a driver with ODBC: psqlODBC, spoken to by pyodbc. One line of JSON for each."""

import json
import os
import threading
from datetime import date
from decimal import Decimal

import pyodbc

HERE = os.environ["PGPORT"]
ADD = "INSERT INTO items VALUES (?, ?)"
USUAL = {
    "Server": "localhost",
    "Port": HERE,
    "Database": os.environ["PGDATABASE"],
    "Uid": os.environ["PGUSER"],
    "Pwd": os.environ["PGPASSWORD"],
    "SSLmode": os.environ["PGSSLMODE"],
    "UseServerSidePrepare": "1",
    "ByteaAsLongVarBinary": "1",
    "MaxLongVarcharSize": "0",
    "BoolsAsChar": "0",
}


def connect(autocommit=True, **parameters):
    parts = {**USUAL, **parameters, "Driver": "{PostgreSQL Unicode}"}
    return pyodbc.connect(";".join(f"{name}={value}" for name, value in parts.items()), autocommit=autocommit)


def one(connection, text, *values):
    return connection.execute(text, *values).fetchval()


def failure(work, *arguments, **named):
    """SQLSTATE and message."""
    try:
        work(*arguments, **named)
    except pyodbc.Error as error:
        return error.args
    raise AssertionError(f"{arguments} succeeded")


def refusal(part, **parameters):
    message = failure(connect, **parameters)[1]
    return "refused" if part in message else message


def tls():
    modes = [one(connect(SSLmode=mode, Server="127.0.0.1"), "SELECT 1") for mode in ("require", "disable")]
    return {"modes": modes, "otherName": refusal("does not match host name", Server="127.0.0.1")}


def login():
    return {"wrong": refusal("password authentication failed", Pwd="wrong")}


def hosts():
    """One host: the driver has room for ten characters of ports, which are not two."""
    writable = one(connect(pqopt="{target_session_attrs=read-write}"), "SHOW transaction_read_only")
    refused = refusal("is not read-only", pqopt="{target_session_attrs=read-only}")
    return {"readOnly": writable, "otherwise": refused}


def values():
    given = (-7, 2**63 - 1, Decimal("12345678901234567890.123"), 0.1, "it's \"ä€😀\" \\ %", True, None)
    rest = (date(2024, 2, 29), bytes([0, 1, 255, 92, 39]))
    db.execute("INSERT INTO kinds VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *given, *rest)
    _, i, b, n, f, t, o, nothing, d, y = db.execute("SELECT * FROM kinds").fetchone()
    return {"row": [i, str(b), str(n), f, t, o, nothing, d.isoformat(), y.hex()]}


def prepared():
    put, get, star = db.cursor(), db.cursor(), db.cursor()

    def name():
        return get.execute("SELECT name FROM prepared WHERE id = ?", 7).fetchval()

    def columns():
        return len(star.execute("SELECT * FROM prepared WHERE id = ?", 7).fetchone())

    for id in range(1, 21):
        put.execute("INSERT INTO prepared VALUES (?, ?)", id, f"name {id}")
    before = [name(), columns()]
    other.execute("ALTER TABLE prepared ADD note text")
    after = [name(), failure(columns)[0]]
    put.execute("INSERT INTO prepared VALUES (?, ?)", 21, "last")
    return {"count": one(db, "SELECT count(*) FROM prepared"), "before": before, "after": after}


def pipeline():
    """Several statements in one message."""
    count = "SELECT count(*) FROM items WHERE id BETWEEN 101 AND 199"

    def add(*ids):
        db.execute(";".join(f"INSERT INTO items VALUES ({id}, 'piped {id} of {ids[0]}')" for id in ids))

    add(*range(101, 111))
    whole = one(db, count)
    error = failure(add, 111, 101, 112)[0]
    return {"count": whole, "error": error, "after": one(db, count)}


def cancel():
    sleeping = db.cursor()

    def when_it_sleeps():
        one(connect(), "SELECT await_sleep(?)", process)
        sleeping.cancel()

    process = one(db, "SELECT pg_backend_pid()")
    thread = threading.Thread(target=when_it_sleeps)
    thread.start()
    error = failure(sleeping.execute, "SELECT pg_sleep(60)")[0]
    thread.join()
    return {"error": error, "after": one(db, "SELECT 1")}


def errors():
    """In a transaction the driver sets a savepoint before each statement: none ever meets a failed one."""
    syntax = failure(db.execute, "SELECT * FORM items")[0]
    db.execute(ADD, 1, "one")
    unique = failure(db.execute, ADD, 2, "one")[0]
    db.autocommit = False
    division = failure(db.execute, "SELECT 1 / 0")[0]
    db.rollback()
    db.autocommit = True
    return {"syntax": syntax, "unique": unique, "division": division}


def large():
    data, text = os.urandom(10 << 20), "ä€" * (1 << 20)
    db.execute("INSERT INTO big VALUES (1, ?, ?)", data, text)
    got, written = db.execute("SELECT data, text FROM big").fetchone()
    return {"data": got == data, "text": written == text}


def transactions():
    db.autocommit = False
    db.execute(ADD, 301, "kept")
    db.execute("SAVEPOINT here")
    failure(db.execute, ADD, 301, "twice")
    db.execute("ROLLBACK TO here")
    db.execute(ADD, 302, "kept, too")
    db.commit()
    db.execute(ADD, 303, "taken back")
    db.rollback()
    levels = []
    for level in (
        pyodbc.SQL_TXN_READ_COMMITTED, pyodbc.SQL_TXN_REPEATABLE_READ, pyodbc.SQL_TXN_SERIALIZABLE,
    ):
        db.set_attr(pyodbc.SQL_ATTR_TXN_ISOLATION, level)
        levels.append(one(db, "SHOW transaction_isolation"))
        db.rollback()
    db.set_attr(pyodbc.SQL_ATTR_TXN_ISOLATION, pyodbc.SQL_TXN_READ_COMMITTED)
    db.execute("SET TRANSACTION READ ONLY")
    refused = failure(db.execute, ADD, 304, "refused")[0]
    db.rollback()
    db.autocommit = True
    kept = [id for (id,) in db.execute("SELECT id FROM items WHERE id BETWEEN 301 AND 399 ORDER BY id")]
    return {"kept": kept, "levels": levels, "readOnly": refused}


def conflict():
    """A serialization failure, and the same transaction once more."""
    codes = []
    db.set_attr(pyodbc.SQL_ATTR_TXN_ISOLATION, pyodbc.SQL_TXN_REPEATABLE_READ)
    db.autocommit = False
    for attempt in range(2):
        try:
            value = one(db, "SELECT value FROM counter")
            if attempt == 0:
                other.execute("UPDATE counter SET value = value + 1")
            db.execute("UPDATE counter SET value = ?", value + 1)
            db.commit()
        except pyodbc.Error as error:
            codes.append(error.args[0])
            db.rollback()
    db.autocommit = True
    db.set_attr(pyodbc.SQL_ATTR_TXN_ISOLATION, pyodbc.SQL_TXN_READ_COMMITTED)
    return {"codes": codes, "value": one(db, "SELECT value FROM counter")}


def cursor():
    """The driver declares a cursor and fetches a hundred rows at a time."""
    connection = connect(autocommit=False, UseDeclareFetch="1", Fetch="100")
    numbers = connection.execute("SELECT g FROM generate_series(1, 2500) g")
    total = numbers.fetchval()
    connection.execute(ADD, 401, "in between")
    total += sum(number for (number,) in numbers)
    connection.commit()
    return {"sum": total}


def elsewhere():
    """An own write is seen on another node at once."""
    seen = 0
    for id in range(201, 221):
        db.execute(ADD, id, f"seen {id}")
        seen += one(other, "SELECT count(*) FROM items WHERE id = ?", id)
    return {"seen": seen}


db = connect()
other = connect(Port=os.environ["OTHER_PORT"])
for duty in (
    tls, login, hosts, values, prepared, pipeline, cancel, errors, large, transactions, conflict, cursor,
    elsewhere,
):
    print(json.dumps({"duty": duty.__name__, "answer": duty()}), flush=True)
