# The duties of a driver with Perl's DBD::Pg. One line of JSON for each.
use v5.36;
use utf8;
use DBD::Pg qw(:async :pg_types);
use DBI;
use Digest::MD5 qw(md5_hex);
use JSON::PP;

my $db    = connected('');
my $other = connected("port=$ENV{OTHER_PORT}");

# Kept: with a statement goes what the server said of it.
my $add = $db->prepare('INSERT INTO items VALUES (?, ?)');

# What is not given comes from PGHOST, PGPORT and so on.
sub connected ($parameters, $password = undef) {
    my %wishes = (RaiseError => 1, PrintError => 0, AutoCommit => 1);
    return DBI->connect("dbi:Pg:$parameters", undef, $password, \%wishes);
}

sub one ($connection, $text, @values) {
    return $connection->selectrow_array($text, undef, @values);
}

sub add (@row) {
    return $add->execute(@row);
}

# The code of what must fail.
sub code ($work) {
    eval { $work->(); 1 } and die 'it succeeded';
    return $db->state;
}

sub refusal ($part, @arguments) {
    eval { connected(@arguments); 1 } and die 'it was let in';
    return index($@, $part) >= 0 ? 'refused' : $@;
}

sub tls {
    my @modes = map { 0 + one(connected("host=127.0.0.1;sslmode=$_"), 'SELECT 1') } qw(require disable);
    return { modes => \@modes, otherName => refusal('does not match host name', 'host=127.0.0.1') };
}

sub login {
    return { wrong => refusal('password authentication failed', '', 'wrong') };
}

sub hosts {
    my $both = "host=localhost,localhost;port=$ENV{CLOSED_PORT},$ENV{PGPORT};target_session_attrs";
    return {
        readOnly  => one(connected("$both=read-write"), 'SHOW transaction_read_only'),
        otherwise => refusal('is not read-only', "$both=read-only"),
    };
}

sub values_of_all_kinds {
    my $put   = $db->prepare('INSERT INTO kinds VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    my @given = (-7, '9223372036854775807', '12345678901234567890.123', 0.1, qq(it's "ä€😀" \\ %), 1, undef);
    $put->bind_param(9, "\x00\x01\xff\x5c\x27", { pg_type => PG_BYTEA });
    $put->bind_param($_ + 1, $given[$_]) for keys @given;
    $put->bind_param(8, '2024-02-29');
    $put->execute;
    my (undef, $i, $b, $n, $f, $t, $o, $nothing, $d, $y) = one($db, 'SELECT * FROM kinds');
    my $bool = $o ? JSON::PP::true : JSON::PP::false;
    return { row => [ 0 + $i, "$b", "$n", 0 + $f, $t, $bool, $nothing, $d, unpack('H*', $y) ] };
}

sub prepared {
    $db->{pg_switch_prepared} = 1;    # At the server from the first execution on.
    my $put  = $db->prepare('INSERT INTO prepared VALUES (?, ?)');
    my $get  = $db->prepare('SELECT name FROM prepared WHERE id = ?');
    my $star = $db->prepare('SELECT * FROM prepared WHERE id = ?');
    $put->execute($_, "name $_") for 1 .. 20;
    my $name = sub { $db->selectrow_array($get, undef, 7) };
    $star->execute(7);
    my @before = ($name->(), $star->{NUM_OF_FIELDS});
    $star->finish;
    $other->do('ALTER TABLE prepared ADD note text');
    my @after = ($name->(), code(sub { $star->execute(7) }));
    $put->execute(21, 'last');
    return { count => 0 + one($db, 'SELECT count(*) FROM prepared'), before => \@before, after => \@after };
}

# Several statements in one message.
sub pipeline {
    my $count = sub { 0 + one($db, 'SELECT count(*) FROM items WHERE id BETWEEN 101 AND 199') };
    my $piped = sub (@ids) { $db->do(join ';', map {"INSERT INTO items VALUES ($_, 'piped $_ of $ids[0]')"} @ids) };
    $piped->(101 .. 110);
    my $whole = $count->();
    my $error = code(sub { $piped->(111, 101, 112) });
    return { count => $whole, error => $error, after => $count->() };
}

sub copy {
    $db->do('COPY copied FROM STDIN');
    $db->pg_putcopydata("$_\tcopied $_\n") for 1 .. 1000;
    $db->pg_putcopyend;
    $db->do('COPY (SELECT * FROM copied ORDER BY id) TO STDOUT');
    my ($out, $line) = ('', '');
    $out .= $line while $db->pg_getcopydata($line) >= 0;
    $db->do('COPY copied FROM STDIN');
    $db->pg_putcopydata("1001\tgood\nx\tbad\n");
    my $error = code(sub { $db->pg_putcopyend });
    return { out => md5_hex($out), error => $error, count => 0 + one($db, 'SELECT count(*) FROM copied') };
}

sub cancel {
    $db->do('SELECT pg_sleep(60)', { pg_async => PG_ASYNC });
    one(connected(''), 'SELECT await_sleep(?)', $db->{pg_pid});
    $db->pg_cancel;
    return { error => $db->state, after => 0 + one($db, 'SELECT 1') };
}

sub errors {
    my $syntax   = code(sub { $db->do('SELECT * FORM items') });
    my $position = 0 + $db->pg_error_field('statement_position');
    add(1, 'one');
    my $unique = code(sub { add(2, 'one') });
    my ($constraint, $detail) = map { $db->pg_error_field($_) } qw(constraint detail);
    $db->begin_work;
    my $division = code(sub { $db->do('SELECT 1 / 0') });
    my $failed   = code(sub { $db->do('SELECT 1') });
    $db->rollback;
    return {
        syntax     => $syntax,
        position   => $position,
        unique     => $unique,
        constraint => $constraint,
        detail     => $detail,
        division   => $division,
        failed     => $failed,
    };
}

sub notify {
    $db->do('LISTEN news');
    $other->do('SELECT pg_notify(?, ?)', undef, 'news', 'ä from another');
    my $told;
    until ($told = $db->pg_notifies) { select undef, undef, undef, 0.01 }
    $db->do('UNLISTEN news');
    my ($channel, undef, $payload) = @$told;
    utf8::decode($payload) unless utf8::is_utf8($payload);
    return { told => [ $channel, $payload ] };
}

sub large {
    open my $random, '<:raw', '/dev/urandom' or die $!;
    read $random, my $data, 10 << 20;
    my $text = 'ä€' x (1 << 20);
    my $put  = $db->prepare('INSERT INTO big VALUES (1, ?, ?)');
    $put->bind_param(1, $data, { pg_type => PG_BYTEA });
    $put->bind_param(2, $text);
    $put->execute;
    my ($got, $written) = one($db, 'SELECT data, text FROM big');
    return { data => same($got, $data), text => same($written, $text) };
}

sub same ($one, $other) {
    return $one eq $other ? JSON::PP::true : JSON::PP::false;
}

sub transactions {
    $db->begin_work;
    add(301, 'kept');
    $db->pg_savepoint('here');
    code(sub { add(301, 'twice') });
    $db->pg_rollback_to('here');
    add(302, 'kept, too');
    $db->commit;
    $db->begin_work;
    add(303, 'taken back');
    $db->rollback;
    my @levels;
    for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE') {
        $db->begin_work;
        $db->do("SET TRANSACTION ISOLATION LEVEL $level");
        push @levels, one($db, 'SHOW transaction_isolation');
        $db->rollback;
    }
    $db->begin_work;
    $db->do('SET TRANSACTION READ ONLY');
    my $refused = code(sub { add(304, 'refused') });
    $db->rollback;
    my $kept = $db->selectcol_arrayref('SELECT id FROM items WHERE id BETWEEN 301 AND 399 ORDER BY id');
    return { kept => [ map { 0 + $_ } @$kept ], levels => \@levels, readOnly => $refused };
}

# A serialization failure, and the same transaction once more.
sub conflict {
    my $change = $db->prepare('UPDATE counter SET value = ?');
    my @codes;
    for my $attempt (1, 2) {
        $db->begin_work;
        $db->do('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
        my $value = one($db, 'SELECT value FROM counter');
        $other->do('UPDATE counter SET value = value + 1') if $attempt == 1;
        next if eval { $change->execute($value + 1); $db->commit; 1 };
        push @codes, $db->state;
        $db->rollback;
    }
    return { codes => \@codes, value => 0 + one($db, 'SELECT value FROM counter') };
}

sub cursor {
    $db->begin_work;
    $db->do('DECLARE numbers CURSOR FOR SELECT g FROM generate_series(1, 2500) g');
    my $sum = one($db, 'FETCH numbers');
    add(401, 'in between');
    while (my @portion = @{ $db->selectcol_arrayref('FETCH 100 FROM numbers') }) { $sum += $_ for @portion }
    $db->commit;
    return { sum => $sum };
}

# An own write is seen on another node at once.
sub elsewhere {
    my $seen = 0;
    for my $id (201 .. 220) {
        add($id, "seen $id");
        $seen += one($other, 'SELECT count(*) FROM items WHERE id = ?', $id);
    }
    return { seen => $seen };
}

my @duties = (
    tls          => \&tls,
    login        => \&login,
    hosts        => \&hosts,
    values       => \&values_of_all_kinds,
    prepared     => \&prepared,
    pipeline     => \&pipeline,
    copy         => \&copy,
    cancel       => \&cancel,
    errors       => \&errors,
    notify       => \&notify,
    large        => \&large,
    transactions => \&transactions,
    conflict     => \&conflict,
    cursor       => \&cursor,
    elsewhere    => \&elsewhere,
);
my $json = JSON::PP->new->utf8->canonical;
$| = 1;
while (my ($duty, $work) = splice @duties, 0, 2) {
    say $json->encode({ duty => $duty, answer => $work->() });
}
