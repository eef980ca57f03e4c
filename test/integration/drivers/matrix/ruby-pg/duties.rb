# The duties of a driver with Ruby's pg, and the pipeline mode of libpq. One line of JSON for each.
# frozen_string_literal: true

require 'bigdecimal'
require 'date'
require 'digest'
require 'json'
require 'pg'
require 'securerandom'

ADD = 'INSERT INTO items VALUES ($1, $2)'
COUNT = 'SELECT count(*) FROM items WHERE id BETWEEN 101 AND 199'

# What is not given comes from PGHOST, PGPORT and so on.
def connect(**parameters)
  connection = PG.connect(**parameters)
  connection.type_map_for_results = PG::BasicTypeMapForResults.new(connection)
  connection.type_map_for_queries = PG::BasicTypeMapForQueries.new(connection)
  connection
end

DB = connect
OTHER = connect(port: ENV.fetch('OTHER_PORT'))

def one(connection, text, values = [])
  connection.exec_params(text, values).getvalue(0, 0)
end

def add(*row)
  DB.exec_params(ADD, row)
end

def failure
  yield
rescue PG::Error => e
  e
else
  raise 'it succeeded'
end

def field(error, name)
  error.result.error_field(name)
end

def code_of(&work)
  field(failure(&work), PG::PG_DIAG_SQLSTATE)
end

def refusal(part, **parameters)
  message = failure { connect(**parameters) }.message
  message.include?(part) ? 'refused' : message
end

def tls
  modes = %w[require disable].map { |mode| one(connect(sslmode: mode, host: '127.0.0.1'), 'SELECT 1') }
  { modes: modes, otherName: refusal('does not match host name', host: '127.0.0.1') }
end

def login
  { wrong: refusal('password authentication failed', password: 'wrong') }
end

def hosts
  both = { host: 'localhost,localhost', port: "#{ENV.fetch('CLOSED_PORT')},#{ENV.fetch('PGPORT')}" }
  connection = connect(**both, target_session_attrs: 'read-write')
  refused = refusal('is not read-only', **both, target_session_attrs: 'read-only')
  { readOnly: one(connection, 'SHOW transaction_read_only'), otherwise: refused }
end

def values
  given = [-7, 2**63 - 1, BigDecimal('12345678901234567890.123'), 0.1, "it's \"ä€😀\" \\ %", true, nil]
  rest = [Date.new(2024, 2, 29), PG::BasicTypeMapForQueries::BinaryData.new([0, 1, 255, 92, 39].pack('C*'))]
  DB.exec_params('INSERT INTO kinds VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9)', given + rest)
  _, i, b, n, f, t, o, nothing, d, y = DB.exec('SELECT * FROM kinds').values.first
  { row: [i, b.to_s, n.to_s('F'), f, t, o, nothing, d.iso8601, y.unpack1('H*')] }
end

def prepared
  DB.prepare('put', 'INSERT INTO prepared VALUES ($1, $2)')
  DB.prepare('get', 'SELECT name FROM prepared WHERE id = $1')
  DB.prepare('star', 'SELECT * FROM prepared WHERE id = $1')
  (1..20).each { |id| DB.exec_prepared('put', [id, "name #{id}"]) }
  name = -> { DB.exec_prepared('get', [7]).getvalue(0, 0) }
  before = [name.call, DB.exec_prepared('star', [7]).nfields]
  OTHER.exec('ALTER TABLE prepared ADD note text')
  after = [name.call, code_of { DB.exec_prepared('star', [7]) }]
  DB.exec_prepared('put', [21, 'last'])
  { count: one(DB, 'SELECT count(*) FROM prepared'), before: before, after: after }
end

# The results of what was sent; the last one is that of the Sync.
def piped(rows)
  DB.enter_pipeline_mode
  rows.each { |row| DB.send_query_params(ADD, row) }
  DB.pipeline_sync
  states = []
  until states.last == PG::PGRES_PIPELINE_SYNC
    result = DB.get_result or next
    states << result.result_status
    error = result.error_field(PG::PG_DIAG_SQLSTATE) if states.last == PG::PGRES_FATAL_ERROR
  end
  error
ensure
  DB.exit_pipeline_mode
end

def pipeline
  piped((101..110).map { |id| [id, "piped #{id}"] })
  count = one(DB, COUNT)
  error = piped([111, 101, 112].map { |id| [id, "again #{id}"] })
  { count: count, error: error, after: one(DB, COUNT) }
end

def copy
  DB.copy_data('COPY copied FROM STDIN') do
    (1..1000).each { |id| DB.put_copy_data("#{id}\tcopied #{id}\n") }
  end
  out = +''
  DB.copy_data('COPY (SELECT * FROM copied ORDER BY id) TO STDOUT') do
    while (line = DB.get_copy_data)
      out << line
    end
  end
  error = code_of { DB.copy_data('COPY copied FROM STDIN') { DB.put_copy_data("1001\tgood\nx\tbad\n") } }
  { out: Digest::MD5.hexdigest(out), error: error, count: one(DB, 'SELECT count(*) FROM copied') }
end

def cancel
  thread = Thread.new do
    one(connect, 'SELECT await_sleep($1)', [DB.backend_pid])
    DB.cancel
  end
  error = code_of { DB.exec('SELECT pg_sleep(60)') }
  thread.join
  { error: error, after: one(DB, 'SELECT 1') }
end

def errors
  syntax = failure { DB.exec('SELECT * FORM items') }
  add(1, 'one')
  unique = failure { add(2, 'one') }
  DB.exec('BEGIN')
  division = code_of { DB.exec('SELECT 1 / 0') }
  failed = code_of { DB.exec('SELECT 1') }
  DB.exec('ROLLBACK')
  {
    syntax: field(syntax, PG::PG_DIAG_SQLSTATE),
    position: Integer(field(syntax, PG::PG_DIAG_STATEMENT_POSITION)),
    unique: field(unique, PG::PG_DIAG_SQLSTATE),
    constraint: field(unique, PG::PG_DIAG_CONSTRAINT_NAME),
    detail: field(unique, PG::PG_DIAG_MESSAGE_DETAIL),
    division: division,
    failed: failed
  }
end

def notify
  DB.exec('LISTEN news')
  OTHER.exec("SELECT pg_notify('news', 'ä from another')")
  told = nil
  DB.wait_for_notify(30) { |channel, _, payload| told = [channel, payload] }
  DB.exec('UNLISTEN news')
  { told: told }
end

def large
  data = SecureRandom.bytes(10 << 20)
  text = 'ä€' * (1 << 20)
  DB.exec_params('INSERT INTO big VALUES (1, $1, $2)', [PG::BasicTypeMapForQueries::BinaryData.new(data), text])
  got, written = DB.exec('SELECT data, text FROM big').values.first
  { data: got == data, text: written == text }
end

def transactions
  DB.transaction do
    add(301, 'kept')
    DB.exec('SAVEPOINT here')
    failure { add(301, 'twice') }
    DB.exec('ROLLBACK TO here')
    add(302, 'kept, too')
  end
  failure { DB.transaction { add(303, 'taken back') && raise(PG::Error, 'go back') } }
  levels = ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'].map do |level|
    DB.exec("BEGIN ISOLATION LEVEL #{level}")
    one(DB, 'SHOW transaction_isolation').tap { DB.exec('ROLLBACK') }
  end
  DB.exec('BEGIN READ ONLY')
  refused = code_of { add(304, 'refused') }
  DB.exec('ROLLBACK')
  kept = DB.exec('SELECT id FROM items WHERE id BETWEEN 301 AND 399 ORDER BY id').column_values(0)
  { kept: kept, levels: levels, readOnly: refused }
end

# A serialization failure, and the same transaction once more.
def conflict
  codes = []
  2.times do |attempt|
    DB.transaction do
      DB.exec('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
      value = one(DB, 'SELECT value FROM counter')
      OTHER.exec('UPDATE counter SET value = value + 1') if attempt.zero?
      DB.exec_params('UPDATE counter SET value = $1', [value + 1])
    end
  rescue PG::TRSerializationFailure => e
    codes << field(e, PG::PG_DIAG_SQLSTATE)
  end
  { codes: codes, value: one(DB, 'SELECT value FROM counter') }
end

def cursor
  DB.transaction do
    DB.exec('DECLARE numbers CURSOR FOR SELECT g FROM generate_series(1, 2500) g')
    sum = one(DB, 'FETCH numbers')
    add(401, 'in between')
    until (portion = DB.exec('FETCH 100 FROM numbers').column_values(0)).empty?
      sum += portion.sum
    end
    { sum: sum }
  end
end

# An own write is seen on another node at once.
def elsewhere
  seen = (201..220).sum do |id|
    add(id, "seen #{id}")
    one(OTHER, 'SELECT count(*) FROM items WHERE id = $1', [id])
  end
  { seen: seen }
end

%i[
  tls login hosts values prepared pipeline copy cancel errors notify large transactions conflict cursor elsewhere
].each { |duty| $stdout.write("#{JSON.generate(duty: duty, answer: send(duty))}\n") }
