// The duties of a driver with pgx. One line of JSON for each.
package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgtype"
	"github.com/jackc/pgx/v4"
)

type answer map[string]interface{}

const add = "INSERT INTO items VALUES ($1, $2)"

var (
	always    = context.Background()
	here      = os.Getenv("PGPORT")
	db, other *pgx.Conn
)

func main() {
	db, other = connect(""), connect("port="+os.Getenv("OTHER_PORT"))
	for _, duty := range []struct {
		name string
		work func() answer
	}{
		{"tls", tls}, {"login", login}, {"hosts", hosts}, {"values", values}, {"prepared", prepared},
		{"pipeline", pipeline}, {"copy", copyRows}, {"cancel", cancel}, {"errors", complaints},
		{"notify", notify}, {"large", large}, {"transactions", transactions}, {"conflict", conflict},
		{"cursor", cursor}, {"elsewhere", elsewhere},
	} {
		line, err := json.Marshal(answer{"duty": duty.name, "answer": duty.work()})
		must(err)
		fmt.Println(string(line))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// What is not given comes from PGHOST, PGPORT and so on.
func connect(parameters string) *pgx.Conn {
	connection, err := pgx.Connect(always, parameters)
	must(err)
	return connection
}

func refusal(part, parameters string) string {
	_, err := pgx.Connect(always, parameters)
	if err == nil {
		panic(parameters + " was let in")
	}
	if strings.Contains(err.Error(), part) {
		return "refused"
	}
	return err.Error()
}

func run(connection *pgx.Conn, text string, values ...interface{}) {
	_, err := connection.Exec(always, text, values...)
	must(err)
}

// The server's words about what must fail.
func failure(err error) *pgconn.PgError {
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		panic(fmt.Sprint("not an error of the server: ", err))
	}
	return said
}

func refused(text string, values ...interface{}) *pgconn.PgError {
	_, err := db.Exec(always, text, values...)
	return failure(err)
}

func number(connection *pgx.Conn, text string, values ...interface{}) (found int) {
	must(connection.QueryRow(always, text, values...).Scan(&found))
	return found
}

func word(text string, values ...interface{}) (found string) {
	must(db.QueryRow(always, text, values...).Scan(&found))
	return found
}

func tls() answer {
	var modes []int
	for _, mode := range []string{"require", "disable"} {
		connection := connect("host=127.0.0.1 sslmode=" + mode)
		modes = append(modes, number(connection, "SELECT 1"))
		must(connection.Close(always))
	}
	return answer{"modes": modes, "otherName": refusal("cannot validate certificate", "host=127.0.0.1")}
}

func login() answer {
	return answer{"wrong": refusal("password authentication failed", "password=wrong")}
}

func hosts() answer {
	both := "host=localhost,localhost port=" + os.Getenv("CLOSED_PORT") + "," + here + " target_session_attrs="
	connection := connect(both + "read-write")
	defer connection.Close(always)
	var readOnly string
	must(connection.QueryRow(always, "SHOW transaction_read_only").Scan(&readOnly))
	return answer{"readOnly": readOnly, "otherwise": refusal("is not read only", both+"read-only")}
}

func values() answer {
	var n pgtype.Numeric
	must(n.Set("12345678901234567890.123"))
	day := time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)
	run(db, "INSERT INTO kinds VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9)", -7, int64(1<<63-1), &n, 0.1,
		"it's \"ä€😀\" \\ %", true, nil, day, []byte{0, 1, 255, 92, 39})
	var (
		id, i   int
		b       int64
		f       float64
		t       string
		o       bool
		nothing *string
		d       time.Time
		y       []byte
		decimal string
	)
	must(db.QueryRow(always, "SELECT * FROM kinds").Scan(&id, &i, &b, &n, &f, &t, &o, &nothing, &d, &y))
	must(db.QueryRow(always, "SELECT $1::numeric::text", &n).Scan(&decimal))
	return answer{"row": []interface{}{
		i, fmt.Sprint(b), decimal, f, t, o, nothing, d.Format("2006-01-02"), hex.EncodeToString(y),
	}}
}

func prepared() answer {
	for name, text := range map[string]string{
		"put":  "INSERT INTO prepared VALUES ($1, $2)",
		"get":  "SELECT name FROM prepared WHERE id = $1",
		"star": "SELECT * FROM prepared WHERE id = $1",
	} {
		_, err := db.Prepare(always, name, text)
		must(err)
	}
	for id := 1; id <= 20; id++ {
		run(db, "put", id, fmt.Sprint("name ", id))
	}
	rows, err := db.Query(always, "star", 7)
	must(err)
	columns := len(rows.FieldDescriptions())
	rows.Close()
	before := []interface{}{word("get", 7), columns}
	run(other, "ALTER TABLE prepared ADD note text")
	after := []interface{}{word("get", 7), refused("star", 7).Code}
	run(db, "put", 21, "last")
	return answer{"count": number(db, "SELECT count(*) FROM prepared"), "before": before, "after": after}
}

func pipeline() answer {
	const count = "SELECT count(*) FROM items WHERE id BETWEEN 101 AND 199"
	whole := &pgx.Batch{}
	for id := 101; id <= 110; id++ {
		whole.Queue(add, id, fmt.Sprint("piped ", id))
	}
	must(db.SendBatch(always, whole).Close())
	result := answer{"count": number(db, count)}
	broken := &pgx.Batch{}
	for _, id := range []int{111, 101, 112} {
		broken.Queue(add, id, fmt.Sprint("again ", id))
	}
	result["error"] = failure(db.SendBatch(always, broken).Close()).Code
	result["after"] = number(db, count)
	return result
}

func copyRows() answer {
	var rows [][]interface{}
	for id := 1; id <= 1000; id++ {
		rows = append(rows, []interface{}{id, fmt.Sprint("copied ", id)})
	}
	_, err := db.CopyFrom(always, pgx.Identifier{"copied"}, []string{"id", "name"}, pgx.CopyFromRows(rows))
	must(err)
	sum := md5.New()
	_, err = db.PgConn().CopyTo(always, sum, "COPY (SELECT * FROM copied ORDER BY id) TO STDOUT")
	must(err)
	bad := bytes.NewBufferString("1001\tgood\nx\tbad\n")
	_, err = db.PgConn().CopyFrom(always, bad, "COPY copied FROM STDIN")
	return answer{
		"out": hex.EncodeToString(sum.Sum(nil)), "error": failure(err).Code,
		"count": number(db, "SELECT count(*) FROM copied"),
	}
}

func cancel() answer {
	watcher := connect("")
	defer watcher.Close(always)
	sent := make(chan error)
	go func() {
		_, err := watcher.Exec(always, "SELECT await_sleep($1)", int32(db.PgConn().PID()))
		if err == nil {
			err = db.PgConn().CancelRequest(always)
		}
		sent <- err
	}()
	code := refused("SELECT pg_sleep(60)").Code
	must(<-sent)
	return answer{"error": code, "after": number(db, "SELECT 1")}
}

func complaints() answer {
	syntax := refused("SELECT * FORM items")
	run(db, add, 1, "one")
	unique := refused(add, 2, "one")
	transaction, err := db.Begin(always)
	must(err)
	division, failed := refused("SELECT 1 / 0").Code, refused("SELECT 1").Code
	must(transaction.Rollback(always))
	return answer{
		"syntax": syntax.Code, "position": syntax.Position, "unique": unique.Code,
		"constraint": unique.ConstraintName, "detail": unique.Detail, "division": division, "failed": failed,
	}
}

func notify() answer {
	run(db, "LISTEN news")
	run(other, "SELECT pg_notify('news', $1)", "ä from another")
	told, err := db.WaitForNotification(always)
	must(err)
	run(db, "UNLISTEN news")
	return answer{"told": []string{told.Channel, told.Payload}}
}

func large() answer {
	data, text := make([]byte, 10<<20), strings.Repeat("ä€", 1<<20)
	_, err := rand.Read(data)
	must(err)
	run(db, "INSERT INTO big VALUES (1, $1, $2)", data, text)
	var got []byte
	var written string
	must(db.QueryRow(always, "SELECT data, text FROM big").Scan(&got, &written))
	return answer{"data": bytes.Equal(got, data), "text": written == text}
}

func transactions() answer {
	transaction, err := db.Begin(always)
	must(err)
	run(db, add, 301, "kept")
	inner, err := transaction.Begin(always) // A savepoint.
	must(err)
	refused(add, 301, "twice")
	must(inner.Rollback(always))
	run(db, add, 302, "kept, too")
	must(transaction.Commit(always))
	within(pgx.TxOptions{}, func() { run(db, add, 303, "taken back") })
	var levels []string
	for _, level := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable} {
		within(pgx.TxOptions{IsoLevel: level}, func() { levels = append(levels, word("SHOW transaction_isolation")) })
	}
	var code string
	within(pgx.TxOptions{AccessMode: pgx.ReadOnly}, func() { code = refused(add, 304, "refused").Code })
	var kept []int
	var id int
	const text = "SELECT id FROM items WHERE id BETWEEN 301 AND 399 ORDER BY id"
	_, err = db.QueryFunc(always, text, nil, []interface{}{&id}, func(pgx.QueryFuncRow) error {
		kept = append(kept, id)
		return nil
	})
	must(err)
	return answer{"kept": kept, "levels": levels, "readOnly": code}
}

// In a transaction that is rolled back.
func within(options pgx.TxOptions, work func()) {
	transaction, err := db.BeginTx(always, options)
	must(err)
	work()
	must(transaction.Rollback(always))
}

// A serialization failure, and the same transaction once more.
func conflict() answer {
	var codes []string
	for attempt := 0; attempt < 2; attempt++ {
		err := db.BeginTxFunc(always, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(pgx.Tx) error {
			value := number(db, "SELECT value FROM counter")
			if attempt == 0 {
				run(other, "UPDATE counter SET value = value + 1")
			}
			_, err := db.Exec(always, "UPDATE counter SET value = $1", value+1)
			return err
		})
		if err != nil {
			codes = append(codes, failure(err).Code)
		}
	}
	return answer{"codes": codes, "value": number(db, "SELECT value FROM counter")}
}

func cursor() answer {
	transaction, err := db.Begin(always)
	must(err)
	run(db, "DECLARE numbers CURSOR FOR SELECT g FROM generate_series(1, 2500) g")
	sum := number(db, "FETCH numbers")
	run(db, add, 401, "in between")
	for more := true; more; {
		rows, err := db.Query(always, "FETCH 100 FROM numbers")
		must(err)
		for more = false; rows.Next(); more = true {
			var found int
			must(rows.Scan(&found))
			sum += found
		}
		must(rows.Err())
	}
	must(transaction.Commit(always))
	return answer{"sum": sum}
}

// An own write is seen on another node at once.
func elsewhere() answer {
	seen := 0
	for id := 201; id <= 220; id++ {
		run(db, add, id, fmt.Sprint("seen ", id))
		seen += number(other, "SELECT count(*) FROM items WHERE id = $1", id)
	}
	return answer{"seen": seen}
}
