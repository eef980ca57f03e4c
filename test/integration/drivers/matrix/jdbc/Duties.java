import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.stream.Collectors;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.util.PSQLException;

/** The duties of a driver with JDBC. One line of JSON for each. */
public final class Duties {
  interface Work {
    Object run() throws Exception;
  }

  static final Map<String, String> SETTINGS = System.getenv();
  static final String HERE = SETTINGS.get("PGPORT");
  static final String ADD = "INSERT INTO items VALUES (?, ?)";
  static Connection db;
  static Connection other;

  public static void main(String[] arguments) throws Exception {
    db = connect("localhost:" + HERE);
    other = connect("localhost:" + SETTINGS.get("OTHER_PORT"));
    say("tls", Duties::tls);
    say("login", Duties::login);
    say("hosts", Duties::hosts);
    say("values", Duties::values);
    say("prepared", Duties::prepared);
    say("pipeline", Duties::pipeline);
    say("copy", Duties::copy);
    say("cancel", Duties::cancel);
    say("errors", Duties::errors);
    say("notify", Duties::tellsOfNotifications);
    say("large", Duties::large);
    say("transactions", Duties::transactions);
    say("conflict", Duties::conflict);
    say("cursor", Duties::cursor);
    say("elsewhere", Duties::elsewhere);
  }

  /** Options are pairs of a name and a value. */
  static Connection connect(String hosts, String... options) throws SQLException {
    var properties = new Properties();
    properties.put("user", SETTINGS.get("PGUSER"));
    properties.put("password", SETTINGS.get("PGPASSWORD"));
    properties.put("sslmode", SETTINGS.get("PGSSLMODE"));
    properties.put("sslrootcert", SETTINGS.get("PGSSLROOTCERT"));
    properties.put("prepareThreshold", "1"); // Named statements from the first execution on.
    for (int at = 0; at < options.length; at += 2) properties.put(options[at], options[at + 1]);
    String url = "jdbc:postgresql://" + hosts + "/" + SETTINGS.get("PGDATABASE");
    return DriverManager.getConnection(url, properties);
  }

  static int update(Connection connection, String text, Object... values) throws SQLException {
    try (var statement = filled(connection.prepareStatement(text), values)) {
      return statement.executeUpdate();
    }
  }

  static Object one(Connection connection, String text, Object... values) throws SQLException {
    try (var statement = filled(connection.prepareStatement(text), values)) {
      return first(statement);
    }
  }

  static Object first(PreparedStatement statement) throws SQLException {
    try (var rows = statement.executeQuery()) {
      rows.next();
      return rows.getObject(1);
    }
  }

  static PreparedStatement filled(PreparedStatement statement, Object... values) throws SQLException {
    for (int index = 0; index < values.length; index++) statement.setObject(index + 1, values[index]);
    return statement;
  }

  static SQLException failure(Work work) throws Exception {
    try {
      work.run();
    } catch (SQLException error) {
      return error;
    }
    throw new AssertionError("it succeeded");
  }

  static String refusal(String part, Work work) throws Exception {
    String message = failure(work).getMessage();
    return message.contains(part) ? "refused" : message;
  }

  static Object tls() throws Exception {
    var modes = new ArrayList<>();
    for (String mode : List.of("require", "disable")) {
      try (var connection = connect("127.0.0.1:" + HERE, "sslmode", mode)) {
        modes.add(one(connection, "SELECT 1"));
      }
    }
    String stranger = refusal("could not be verified", () -> connect("127.0.0.1:" + HERE));
    return answer("modes", modes, "otherName", stranger);
  }

  static Object login() throws Exception {
    String part = "password authentication failed";
    return answer("wrong", refusal(part, () -> connect("localhost:" + HERE, "password", "wrong")));
  }

  static Object hosts() throws Exception {
    String both = "localhost:" + SETTINGS.get("CLOSED_PORT") + ",localhost:" + HERE;
    String part = "Could not find a server with specified targetServerType";
    String refused = refusal(part, () -> connect("localhost:" + HERE, "targetServerType", "secondary"));
    try (var connection = connect(both, "targetServerType", "primary")) {
      return answer("readOnly", one(connection, "SHOW transaction_read_only"), "otherwise", refused);
    }
  }

  static Object values() throws Exception {
    var given = new Object[] {
      -7, Long.MAX_VALUE, new BigDecimal("12345678901234567890.123"), 0.1, "it's \"ä€😀\" \\ %", true,
      null, Date.valueOf("2024-02-29"), new byte[] {0, 1, (byte) 255, 92, 39}
    };
    update(db, "INSERT INTO kinds VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)", given);
    try (var statement = db.createStatement(); var row = statement.executeQuery("SELECT * FROM kinds")) {
      row.next();
      return answer("row", Arrays.asList(
          row.getInt(2), String.valueOf(row.getLong(3)), row.getBigDecimal(4).toString(), row.getDouble(5),
          row.getString(6), row.getBoolean(7), row.getString(8), row.getDate(9).toString(),
          HexFormat.of().formatHex(row.getBytes(10))));
    }
  }

  static Object prepared() throws Exception {
    try (var put = db.prepareStatement("INSERT INTO prepared VALUES (?, ?)");
        var get = db.prepareStatement("SELECT name FROM prepared WHERE id = ?");
        var star = db.prepareStatement("SELECT * FROM prepared WHERE id = ?")) {
      for (int id = 1; id <= 20; id++) filled(put, id, "name " + id).executeUpdate();
      var before = List.of(first(filled(get, 7)), columns(filled(star, 7)));
      update(other, "ALTER TABLE prepared ADD note text");
      db.setAutoCommit(false); // Outside of a transaction the driver would prepare it again by itself.
      String refused = failure(() -> columns(star)).getSQLState();
      db.rollback();
      db.setAutoCommit(true);
      var after = List.of(first(get), refused);
      filled(put, 21, "last").executeUpdate();
      return answer("count", one(db, "SELECT count(*) FROM prepared"), "before", before, "after", after);
    }
  }

  static int columns(PreparedStatement statement) throws SQLException {
    try (var rows = statement.executeQuery()) {
      return rows.getMetaData().getColumnCount();
    }
  }

  static Object pipeline() throws Exception {
    String count = "SELECT count(*) FROM items WHERE id BETWEEN 101 AND 199";
    db.setAutoCommit(false);
    batch("piped ", 101, 102, 103, 104, 105, 106, 107, 108, 109, 110);
    db.commit();
    Object whole = one(db, count);
    var error = (BatchUpdateException) failure(() -> batch("again ", 111, 101, 112));
    db.rollback();
    db.setAutoCommit(true);
    return answer("count", whole, "error", error.getSQLState(), "after", one(db, count));
  }

  static Object batch(String name, int... ids) throws SQLException {
    try (var statement = db.prepareStatement(ADD)) {
      for (int id : ids) filled(statement, id, name + id).addBatch();
      return statement.executeBatch();
    }
  }

  static Object copy() throws Exception {
    var manager = db.unwrap(PGConnection.class).getCopyAPI();
    var text = new StringBuilder();
    for (int id = 1; id <= 1000; id++) text.append(id).append("\tcopied ").append(id).append('\n');
    manager.copyIn("COPY copied FROM STDIN", new StringReader(text.toString()));
    var out = new ByteArrayOutputStream();
    manager.copyOut("COPY (SELECT * FROM copied ORDER BY id) TO STDOUT", out);
    var bad = new StringReader("1001\tgood\nx\tbad\n");
    String error = failure(() -> manager.copyIn("COPY copied FROM STDIN", bad)).getSQLState();
    String digest = HexFormat.of().formatHex(MessageDigest.getInstance("MD5").digest(out.toByteArray()));
    return answer("out", digest, "error", error, "count", one(db, "SELECT count(*) FROM copied"));
  }

  static Object cancel() throws Exception {
    try (var sleeping = db.createStatement(); var watcher = connect("localhost:" + HERE)) {
      int process = db.unwrap(PGConnection.class).getBackendPID();
      var thread = new Thread(() -> {
        try {
          one(watcher, "SELECT await_sleep(?)", process);
          sleeping.cancel();
        } catch (SQLException error) {
          throw new IllegalStateException(error);
        }
      });
      thread.start();
      String error = failure(() -> sleeping.execute("SELECT pg_sleep(60)")).getSQLState();
      thread.join();
      return answer("error", error, "after", one(db, "SELECT 1"));
    }
  }

  static Object errors() throws Exception {
    var syntax = (PSQLException) failure(() -> one(db, "SELECT * FORM items"));
    update(db, ADD, 1, "one");
    var unique = (PSQLException) failure(() -> update(db, ADD, 2, "one"));
    db.setAutoCommit(false);
    String division = failure(() -> one(db, "SELECT 1 / 0")).getSQLState();
    String failed = failure(() -> one(db, "SELECT 1")).getSQLState();
    db.rollback();
    db.setAutoCommit(true);
    var said = unique.getServerErrorMessage();
    return answer(
        "syntax", syntax.getSQLState(), "position", syntax.getServerErrorMessage().getPosition(),
        "unique", unique.getSQLState(), "constraint", said.getConstraint(), "detail", said.getDetail(),
        "division", division, "failed", failed);
  }

  static Object tellsOfNotifications() throws Exception {
    update(db, "LISTEN news");
    one(other, "SELECT pg_notify('news', 'ä from another')");
    PGNotification[] told = db.unwrap(PGConnection.class).getNotifications(30_000);
    update(db, "UNLISTEN news");
    return answer("told", List.of(told[0].getName(), told[0].getParameter()));
  }

  static Object large() throws Exception {
    var data = new byte[10 << 20];
    new Random(1).nextBytes(data);
    String text = "ä€".repeat(1 << 20);
    update(db, "INSERT INTO big VALUES (1, ?, ?)", data, text);
    try (var statement = db.createStatement();
        var row = statement.executeQuery("SELECT data, text FROM big")) {
      row.next();
      return answer("data", Arrays.equals(row.getBytes(1), data), "text", row.getString(2).equals(text));
    }
  }

  static Object transactions() throws Exception {
    db.setAutoCommit(false);
    update(db, ADD, 301, "kept");
    Savepoint here = db.setSavepoint();
    failure(() -> update(db, ADD, 301, "twice"));
    db.rollback(here);
    update(db, ADD, 302, "kept, too");
    db.commit();
    update(db, ADD, 303, "taken back");
    db.rollback();
    var levels = new ArrayList<>();
    int[] asked = {
      Connection.TRANSACTION_READ_COMMITTED, Connection.TRANSACTION_REPEATABLE_READ,
      Connection.TRANSACTION_SERIALIZABLE
    };
    for (int level : asked) {
      db.setTransactionIsolation(level);
      levels.add(one(db, "SHOW transaction_isolation"));
      db.rollback();
    }
    db.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
    db.setReadOnly(true);
    String refused = failure(() -> update(db, ADD, 304, "refused")).getSQLState();
    db.rollback();
    db.setReadOnly(false);
    db.setAutoCommit(true);
    var kept = new ArrayList<>();
    String text = "SELECT id FROM items WHERE id BETWEEN 301 AND 399 ORDER BY id";
    try (Statement statement = db.createStatement(); ResultSet rows = statement.executeQuery(text)) {
      while (rows.next()) kept.add(rows.getInt(1));
    }
    return answer("kept", kept, "levels", levels, "readOnly", refused);
  }

  /** A serialization failure, and the same transaction once more. */
  static Object conflict() throws Exception {
    var codes = new ArrayList<>();
    db.setAutoCommit(false);
    db.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
    for (int attempt = 0; attempt < 2; attempt++) {
      try {
        int value = (int) one(db, "SELECT value FROM counter");
        if (attempt == 0) update(other, "UPDATE counter SET value = value + 1");
        update(db, "UPDATE counter SET value = ?", value + 1);
        db.commit();
      } catch (SQLException error) {
        codes.add(error.getSQLState());
        db.rollback();
      }
    }
    db.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
    db.setAutoCommit(true);
    return answer("codes", codes, "value", one(db, "SELECT value FROM counter"));
  }

  static Object cursor() throws Exception {
    long sum = 0;
    db.setAutoCommit(false); // Else the driver fetches everything at once.
    try (var statement = db.prepareStatement("SELECT g FROM generate_series(1, 2500) g")) {
      statement.setFetchSize(100);
      try (var rows = statement.executeQuery()) {
        while (rows.next()) {
          sum += rows.getInt(1);
          if (rows.getRow() == 1) update(db, ADD, 401, "in between");
        }
      }
    }
    db.commit();
    db.setAutoCommit(true);
    return answer("sum", sum);
  }

  /** An own write is seen on another node at once. */
  static Object elsewhere() throws Exception {
    long seen = 0;
    for (int id = 201; id <= 220; id++) {
      update(db, ADD, id, "seen " + id);
      seen += (long) one(other, "SELECT count(*) FROM items WHERE id = ?", id);
    }
    return answer("seen", seen);
  }

  // ---- JSON

  static Map<String, Object> answer(Object... parts) {
    var answer = new LinkedHashMap<String, Object>();
    for (int index = 0; index < parts.length; index += 2) answer.put((String) parts[index], parts[index + 1]);
    return answer;
  }

  static void say(String duty, Work work) throws Exception {
    byte[] line = json(answer("duty", duty, "answer", work.run())).getBytes(StandardCharsets.UTF_8);
    System.out.write(line, 0, line.length);
    System.out.write('\n');
    System.out.flush();
  }

  static String json(Object value) {
    if (value instanceof Map<?, ?> map) return "{" + list(map.entrySet()) + "}";
    if (value instanceof Map.Entry<?, ?> entry) return json(entry.getKey()) + ":" + json(entry.getValue());
    if (value instanceof List<?> list) return "[" + list(list) + "]";
    if (value instanceof String text) return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    return String.valueOf(value);
  }

  static String list(Collection<?> values) {
    return values.stream().map(Duties::json).collect(Collectors.joining(","));
  }
}
