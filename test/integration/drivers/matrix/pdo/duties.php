<?php

/** The duties of a driver with PHP's PDO. One line of JSON for each. */

declare(strict_types=1);

const ADD = 'INSERT INTO items VALUES (?, ?)';
const COUNT = 'SELECT count(*) FROM items WHERE id BETWEEN 101 AND 199';

/** What is not given comes from PGHOST, PGPORT and so on. */
function connect(string $parameters = '', ?string $password = null): PDO
{
    return new PDO("pgsql:$parameters", null, $password, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
}

$db = connect();
$other = connect('port=' . getenv('OTHER_PORT'));

function run(PDO $connection, string $text, array $values = []): PDOStatement
{
    $statement = $connection->prepare($text);
    $statement->execute($values);
    return $statement;
}

function one(PDO $connection, string $text, array $values = []): mixed
{
    return run($connection, $text, $values)->fetchColumn();
}

function failure(callable $work): PDOException
{
    try {
        $work();
    } catch (PDOException $error) {
        return $error;
    }
    throw new LogicException('it succeeded');
}

function code(callable $work): string
{
    return failure($work)->errorInfo[0];
}

function refusal(string $part, string $parameters, ?string $password = null): string
{
    $message = failure(fn() => connect($parameters, $password))->getMessage();
    return str_contains($message, $part) ? 'refused' : $message;
}

function tls(PDO $db, PDO $other): array
{
    $one = fn(string $mode) => one(connect("host=127.0.0.1;sslmode=$mode"), 'SELECT 1');
    return [
        'modes' => array_map($one, ['require', 'disable']),
        'otherName' => refusal('does not match host name', 'host=127.0.0.1'),
    ];
}

function login(PDO $db, PDO $other): array
{
    return ['wrong' => refusal('password authentication failed', '', 'wrong')];
}

function hosts(PDO $db, PDO $other): array
{
    $both = sprintf('host=localhost,localhost;port=%s,%s', getenv('CLOSED_PORT'), getenv('PGPORT'));
    return [
        'readOnly' => one(connect("$both;target_session_attrs=read-write"), 'SHOW transaction_read_only'),
        'otherwise' => refusal('is not read-only', "$both;target_session_attrs=read-only"),
    ];
}

function values(PDO $db, PDO $other): array
{
    $put = $db->prepare('INSERT INTO kinds VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    $given = [-7, PHP_INT_MAX, '12345678901234567890.123', 0.1, "it's \"ä€😀\" \\ %", true, null, '2024-02-29'];
    foreach ($given as $index => $value) {
        $kind = match (true) {
            is_int($value) => PDO::PARAM_INT,
            is_bool($value) => PDO::PARAM_BOOL,
            default => PDO::PARAM_STR,
        };
        $put->bindValue($index + 1, $value, $kind);
    }
    $put->bindValue(9, "\x00\x01\xff\x5c\x27", PDO::PARAM_LOB);
    $put->execute();
    [, $i, $b, $n, $f, $t, $o, $nothing, $d, $y] = run($db, 'SELECT * FROM kinds')->fetch(PDO::FETCH_NUM);
    $bytes = bin2hex(stream_get_contents($y));
    return ['row' => [$i, (string) $b, $n, (float) $f, $t, $o, $nothing, $d, $bytes]];
}

function prepared(PDO $db, PDO $other): array
{
    $put = $db->prepare('INSERT INTO prepared VALUES (?, ?)');
    $get = $db->prepare('SELECT name FROM prepared WHERE id = ?');
    $star = $db->prepare('SELECT * FROM prepared WHERE id = ?');
    $name = fn() => $get->execute([7]) ? $get->fetchColumn() : null;
    foreach (range(1, 20) as $id) {
        $put->execute([$id, "name $id"]);
    }
    $star->execute([7]);
    $before = [$name(), $star->columnCount()];
    run($other, 'ALTER TABLE prepared ADD note text');
    $after = [$name(), code(fn() => $star->execute([7]))];
    $put->execute([21, 'last']);
    return ['count' => one($db, 'SELECT count(*) FROM prepared'), 'before' => $before, 'after' => $after];
}

/** Several statements in one message. */
function pipeline(PDO $db, PDO $other): array
{
    $add = fn(int ...$ids) => $db->exec(
        implode(';', array_map(fn($id) => "INSERT INTO items VALUES ($id, 'piped $id, of ' || $ids[0])", $ids)),
    );
    $add(...range(101, 110));
    $count = one($db, COUNT);
    $error = code(fn() => $add(111, 101, 112));
    return ['count' => $count, 'error' => $error, 'after' => one($db, COUNT)];
}

function copyRows(PDO $db, PDO $other): array
{
    $db->pgsqlCopyFromArray('copied', array_map(fn($id) => "$id\tcopied $id\n", range(1, 1000)));
    $out = implode('', $db->pgsqlCopyToArray('(SELECT * FROM copied ORDER BY id)'));
    $error = code(fn() => $db->pgsqlCopyFromArray('copied', ["1001\tgood\n", "x\tbad\n"]));
    return ['out' => md5($out), 'error' => $error, 'count' => one($db, 'SELECT count(*) FROM copied')];
}

function errors(PDO $db, PDO $other): array
{
    $syntax = code(fn() => $db->query('SELECT * FORM items'));
    run($db, ADD, [1, 'one']);
    $unique = failure(fn() => run($db, ADD, [2, 'one']))->errorInfo;
    preg_match('/DETAIL:\s+(.*)/', $unique[2], $detail);
    $db->beginTransaction();
    $division = code(fn() => $db->query('SELECT 1 / 0'));
    $failed = code(fn() => $db->query('SELECT 1'));
    $db->rollBack();
    return [
        'syntax' => $syntax,
        'unique' => $unique[0],
        'detail' => $detail[1],
        'division' => $division,
        'failed' => $failed,
    ];
}

function notify(PDO $db, PDO $other): array
{
    $db->exec('LISTEN news');
    run($other, 'SELECT pg_notify(?, ?)', ['news', 'ä from another']);
    $told = $db->pgsqlGetNotify(PDO::FETCH_ASSOC, 30_000);
    $db->exec('UNLISTEN news');
    return ['told' => [$told['message'], $told['payload']]];
}

function large(PDO $db, PDO $other): array
{
    $data = random_bytes(10 << 20);
    $text = str_repeat('ä€', 1 << 20);
    $put = $db->prepare('INSERT INTO big VALUES (1, ?, ?)');
    $put->bindValue(1, $data, PDO::PARAM_LOB);
    $put->bindValue(2, $text);
    $put->execute();
    [$got, $written] = run($db, 'SELECT data, text FROM big')->fetch(PDO::FETCH_NUM);
    return ['data' => stream_get_contents($got) === $data, 'text' => $written === $text];
}

function transactions(PDO $db, PDO $other): array
{
    $db->beginTransaction();
    run($db, ADD, [301, 'kept']);
    $db->exec('SAVEPOINT here');
    failure(fn() => run($db, ADD, [301, 'twice']));
    $db->exec('ROLLBACK TO here');
    run($db, ADD, [302, 'kept, too']);
    $db->commit();
    $db->beginTransaction();
    run($db, ADD, [303, 'taken back']);
    $db->rollBack();
    $levels = [];
    foreach (['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'] as $level) {
        $db->beginTransaction();
        $db->exec("SET TRANSACTION ISOLATION LEVEL $level");
        $levels[] = one($db, 'SHOW transaction_isolation');
        $db->rollBack();
    }
    $db->beginTransaction();
    $db->exec('SET TRANSACTION READ ONLY');
    $refused = code(fn() => run($db, ADD, [304, 'refused']));
    $db->rollBack();
    $kept = run($db, 'SELECT id FROM items WHERE id BETWEEN 301 AND 399 ORDER BY id')->fetchAll(PDO::FETCH_COLUMN);
    return ['kept' => $kept, 'levels' => $levels, 'readOnly' => $refused];
}

/** A serialization failure, and the same transaction once more. */
function conflict(PDO $db, PDO $other): array
{
    $codes = [];
    foreach ([1, 2] as $attempt) {
        try {
            $db->beginTransaction();
            $db->exec('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
            $value = one($db, 'SELECT value FROM counter');
            if ($attempt === 1) {
                $other->exec('UPDATE counter SET value = value + 1');
            }
            run($db, 'UPDATE counter SET value = ?', [$value + 1]);
            $db->commit();
        } catch (PDOException $error) {
            $codes[] = $error->errorInfo[0];
            $db->rollBack();
        }
    }
    return ['codes' => $codes, 'value' => one($db, 'SELECT value FROM counter')];
}

function cursor(PDO $db, PDO $other): array
{
    $fetch = fn(int $count) => run($db, "FETCH $count FROM numbers")->fetchAll(PDO::FETCH_COLUMN);
    $db->beginTransaction();
    $db->exec('DECLARE numbers CURSOR FOR SELECT g FROM generate_series(1, 2500) g');
    $sum = array_sum($fetch(1));
    run($db, ADD, [401, 'in between']);
    while ($portion = $fetch(100)) {
        $sum += array_sum($portion);
    }
    $db->commit();
    return ['sum' => $sum];
}

/** An own write is seen on another node at once. */
function elsewhere(PDO $db, PDO $other): array
{
    $seen = 0;
    foreach (range(201, 220) as $id) {
        run($db, ADD, [$id, "seen $id"]);
        $seen += one($other, 'SELECT count(*) FROM items WHERE id = ?', [$id]);
    }
    return ['seen' => $seen];
}

$duties = [
    'tls', 'login', 'hosts', 'values', 'prepared', 'pipeline', 'copy' => 'copyRows', 'errors', 'notify', 'large',
    'transactions', 'conflict', 'cursor', 'elsewhere',
];
foreach ($duties as $name => $work) {
    $line = ['duty' => is_int($name) ? $work : $name, 'answer' => $work($db, $other)];
    echo json_encode($line, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE), "\n";
}
