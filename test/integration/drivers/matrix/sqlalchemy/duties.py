"""The duties of a driver with SQLAlchemy, on psycopg2: what the ORM sends. One line of JSON for each."""

import json
import os
import threading
from datetime import date
from decimal import Decimal

from sqlalchemy import BigInteger, Boolean, Column, Date, Float, Integer, LargeBinary, Numeric, Text
from sqlalchemy import create_engine, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, declarative_base

Base = declarative_base()


class Item(Base):
    __tablename__ = "items"
    id = Column(Integer, primary_key=True)
    name = Column(Text)


class Kind(Base):
    __tablename__ = "kinds"
    id = Column(Integer, primary_key=True)
    i = Column(Integer)
    b = Column(BigInteger)
    n = Column(Numeric)
    f = Column(Float)
    t = Column(Text)
    o = Column(Boolean)
    nothing = Column(Text)
    d = Column(Date)
    y = Column(LargeBinary)


class Big(Base):
    __tablename__ = "big"
    id = Column(Integer, primary_key=True)
    data = Column(LargeBinary)
    text = Column(Text)


class Counter(Base):
    __tablename__ = "counter"
    id = Column(Integer, primary_key=True)
    value = Column(Integer)


def engine_for(url="postgresql+psycopg2://", **parameters):
    """What is not given comes from PGHOST, PGPORT and so on."""
    return create_engine(url, connect_args=parameters, future=True)


def failure(work, *arguments):
    try:
        work(*arguments)
    except DBAPIError as error:
        return error.orig
    raise AssertionError("it succeeded")


def refusal(part, **parameters):
    message = str(failure(engine_for(**parameters).connect))
    return "refused" if part in message else message


def committed(*objects):
    with Session(engine) as session, session.begin():
        session.add_all(objects)


def tls():
    modes = []
    for mode in ("require", "disable"):
        with engine_for(sslmode=mode, host="127.0.0.1").connect() as connection:
            modes.append(connection.scalar(text("SELECT 1")))
    return {"modes": modes, "otherName": refusal("does not match host name", host="127.0.0.1")}


def login():
    return {"wrong": refusal("password authentication failed", password="wrong")}


def hosts():
    ports = f"{os.environ['CLOSED_PORT']},{os.environ['PGPORT']}"
    both = {"host": "localhost,localhost", "port": ports}
    with engine_for(**both, target_session_attrs="read-write").connect() as connection:
        writable = connection.scalar(text("SHOW transaction_read_only"))
    refused = refusal("is not read-only", **both, target_session_attrs="read-only")
    return {"readOnly": writable, "otherwise": refused}


def values():
    number, words = Decimal("12345678901234567890.123"), "it's \"ä€😀\" \\ %"
    given = {"i": -7, "b": 2**63 - 1, "n": number, "f": 0.1, "t": words, "o": True}
    committed(Kind(id=1, **given, nothing=None, d=date(2024, 2, 29), y=bytes([0, 1, 255, 92, 39])))
    with Session(engine) as session:
        k = session.get(Kind, 1)
        row = [k.i, str(k.b), str(k.n), k.f, k.t, k.o, k.nothing, k.d.isoformat(), bytes(k.y).hex()]
        return {"row": row}


def pipeline():
    """The unit of work sends many rows in one statement."""
    piped = select(func.count()).where(Item.id.between(101, 199))
    committed(*(Item(id=id, name=f"piped {id}") for id in range(101, 111)))
    with Session(engine) as session:
        count = session.scalar(piped)
    error = failure(committed, *(Item(id=id, name=f"again {id}") for id in (111, 101, 112))).pgcode
    with Session(engine) as session:
        return {"count": count, "error": error, "after": session.scalar(piped)}


def cancel():
    def when_it_sleeps():
        with engine.connect() as watcher:
            watcher.execute(select(func.await_sleep(driver.info.backend_pid)))
        driver.cancel()

    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        thread = threading.Thread(target=when_it_sleeps)
        thread.start()
        error = failure(connection.execute, text("SELECT pg_sleep(60)")).pgcode
        thread.join()
        connection.rollback()
        return {"error": error, "after": connection.scalar(text("SELECT 1"))}


def errors():
    committed(Item(id=1, name="one"))
    unique = failure(committed, Item(id=2, name="one"))
    with engine.connect() as connection:
        syntax = failure(connection.execute, text("SELECT * FORM items"))
        connection.rollback()
        division = failure(connection.execute, text("SELECT 1 / 0")).pgcode
        failed = failure(connection.execute, text("SELECT 1")).pgcode
    return {
        "syntax": syntax.pgcode,
        "position": int(syntax.diag.statement_position),
        "unique": unique.pgcode,
        "constraint": unique.diag.constraint_name,
        "detail": unique.diag.message_detail,
        "division": division,
        "failed": failed,
    }


def large():
    data, words = os.urandom(10 << 20), "ä€" * (1 << 20)
    committed(Big(id=1, data=data, text=words))
    with Session(engine) as session:
        found = session.get(Big, 1)
        return {"data": bytes(found.data) == data, "text": found.text == words}


def transactions():
    with Session(engine) as session:
        session.add(Item(id=301, name="kept"))
        session.flush()

        def twice():
            with session.begin_nested():
                session.execute(insert(Item).values(id=301, name="twice"))

        failure(twice)
        session.add(Item(id=302, name="kept, too"))
        session.commit()
        session.add(Item(id=303, name="taken back"))
        session.flush()
        session.rollback()
    levels = []
    for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
        with engine.connect().execution_options(isolation_level=level) as connection:
            levels.append(connection.scalar(text("SHOW transaction_isolation")))
    with engine.connect().execution_options(postgresql_readonly=True) as connection:
        refused = failure(connection.execute, insert(Item).values(id=304, name="refused")).pgcode
    with Session(engine) as session:
        kept = session.scalars(select(Item.id).where(Item.id.between(301, 399)).order_by(Item.id)).all()
    return {"kept": kept, "levels": levels, "readOnly": refused}


def conflict():
    """A serialization failure, and the same transaction once more."""
    codes = []
    strict = engine.execution_options(isolation_level="REPEATABLE READ")
    for attempt in range(2):
        try:
            with Session(strict) as session, session.begin():
                counter = session.get(Counter, 1)
                if attempt == 0:
                    with Session(elsewhere_engine) as second, second.begin():
                        second.get(Counter, 1).value += 1
                counter.value += 1
        except DBAPIError as error:
            codes.append(error.orig.pgcode)
    with Session(engine) as session:
        return {"codes": codes, "value": session.get(Counter, 1).value}


def cursor():
    numbers = select(text("g")).select_from(text("generate_series(1, 2500) g"))
    with Session(engine) as session, session.begin():
        rows = session.execute(numbers, execution_options={"stream_results": True, "max_row_buffer": 100})
        total = next(rows)[0]
        session.add(Item(id=401, name="in between"))
        session.flush()
        return {"sum": total + sum(number for (number,) in rows)}


def elsewhere():
    """An own write is seen on another node at once."""
    seen = 0
    for id in range(201, 221):
        committed(Item(id=id, name=f"seen {id}"))
        with Session(elsewhere_engine) as session:
            seen += session.get(Item, id) is not None
    return {"seen": seen}


engine = engine_for()
elsewhere_engine = engine_for(port=os.environ["OTHER_PORT"])
for duty in (
    tls, login, hosts, values, pipeline, cancel, errors, large, transactions, conflict, cursor, elsewhere,
):
    print(json.dumps({"duty": duty.__name__, "answer": duty()}), flush=True)
