/**
 * The status page: asks /status.json once a second and shows it.
 * Rule: whatever it shows is set as text or as an attribute of a drawing, never as markup, because names and
 * reasons may contain anything; nothing is shown without the word for it and its unit.
 */
const svgSpace = 'http://www.w3.org/2000/svg';
const pollMs = 1000;
const patienceMs = 4000;
const byId = (id) => document.getElementById(id);

// ---- small things

function element(name, options = {}, ...children) {
  const made = options.svg ? document.createElementNS(svgSpace, name) : document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key === 'svg' || value === undefined) continue;
    if (key === 'text') made.textContent = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const drawn = (name, options = {}, ...children) => element(name, { ...options, svg: true }, ...children);

function setText(target, value) {
  if (target.textContent !== value) target.textContent = value;
}

/** Replaces the children only when what they show is new: whoever selects or reads a text keeps it. */
function renew(target, key, make) {
  const text = JSON.stringify(key);
  if (target.dataset.shown === text) return;
  target.dataset.shown = text;
  target.replaceChildren(...make());
}

function bytes(value) {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let at = 0;
  let rest = value;
  while (rest >= 1000 && at < units.length - 1) {
    rest /= 1000;
    at++;
  }
  const digits = at === 0 || rest >= 100 ? 0 : rest >= 10 ? 1 : 2;
  return { number: rest.toFixed(digits), unit: units[at] };
}

const bytesText = (value) => {
  const { number, unit } = bytes(value);
  return `${number} ${unit}`;
};

function duration(seconds) {
  const whole = Math.max(Math.round(seconds), 0);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

function clock(at) {
  const time = new Date(at);
  const text = time.toLocaleTimeString('en-GB');
  return time.toDateString() === new Date().toDateString()
    ? text
    : `${time.toLocaleDateString('en-GB')} ${text}`;
}

const rate = (value) =>
  value >= 100 ? Math.round(value).toLocaleString('en') : String(Math.round(value * 10) / 10);
const count = (value, one, many) => `${value.toLocaleString('en')} ${value === 1 ? one : many}`;
const millis = (value) =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
const list = (numbers) => (numbers.length === 0 ? 'none' : numbers.join(', '));

// ---- states: a colour, a shape and a word

const states = {
  online: { tone: 'good', word: 'online' },
  catchup: { tone: 'warn', word: 'catching up' },
  recovery: { tone: 'warn', word: 'recovery' },
  'getting online': { tone: 'warn', word: 'getting online' },
  joining: { tone: 'warn', word: 'joining' },
  isolated: { tone: 'bad', word: 'isolated' },
  disabled: { tone: 'bad', word: 'disabled' },
  away: { tone: 'bad', word: 'away' },
};

const shapes = {
  online: 'M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0M5.2 8.2l2 2l3.6-4',
  catchup: 'M13.5 8a5.5 5.5 0 1 1-1.8-4.1M12.2 1.2v3.2H9',
  recovery: 'M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0M8 4.6V8l2.4 1.6',
  'getting online': 'M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0M8 4.6V8l2.4 1.6',
  joining: 'M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0M8 5.2v5.6M5.2 8h5.6',
  isolated: 'M8 2l6.5 11.5h-13zM8 6.4v3.2M8 11.6v.1',
  disabled: 'M3 3h10v10H3zM5.8 8h4.4',
  away: 'M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0M5.9 5.9l4.2 4.2M10.1 5.9l-4.2 4.2',
  info: 'M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0M8 7.4v3.4M8 5.1v.1',
  warn: 'M8 2l6.5 11.5h-13zM8 6.4v3.2M8 11.6v.1',
  error: 'M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0M8 4.8v3.8M8 11v.1',
};

const stateOf = (name) => states[name] ?? { tone: 'warn', word: String(name) };
const shape = (name) => drawn('path', { class: 'shape', d: shapes[name] ?? shapes.recovery });

function glyph(name, tone) {
  return drawn('svg', { class: `glyph ${tone}`, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, shape(name));
}

function fact(name, value, title) {
  return element('div', { title }, element('dt', { text: name }), element('dd', { text: value }));
}

// ---- the state of this node

function headlineOf({ status, ready, writable, draining, generation }) {
  if (draining) return { tone: 'warn', text: 'Shutting down: sessions are being ended' };
  const without = generation.configured.filter((id) => !generation.members.includes(id));
  if (ready && writable && without.length > 0)
    return { tone: 'warn', text: `Online without node ${list(without)}: serves reads and writes` };
  if (ready && writable) return { tone: 'good', text: 'Online: serves reads and writes' };
  if (ready) return { tone: 'warn', text: 'Online: serves reads, no writes' };
  const word = stateOf(status).word;
  const name = word.charAt(0).toUpperCase() + word.slice(1);
  if (status === 'isolated') return { tone: 'bad', text: `No quorum (${word}): serves nobody` };
  const majority = generation.inMajority || status === 'disabled' ? '' : ', and there is no majority';
  return { tone: stateOf(status).tone, text: `${name}: serves nobody${majority}` };
}

function showHeadline(database) {
  const { status, reason, generation, nodes } = database;
  const { tone, text } = headlineOf(database);
  byId('headline').className = `card headline ${tone}`;
  const drawing = byId('headline-glyph');
  drawing.setAttribute('class', `glyph ${tone}`);
  renew(drawing, [status, tone], () => [shape(tone === 'warn' && status === 'online' ? 'warn' : status)]);
  setText(byId('headline-text'), text);
  setText(byId('headline-reason'), reason === '' ? 'Nothing is wrong as far as this node can see.' : reason);
  const inContact = nodes.filter(({ state }) => state !== 'away').length;
  const facts = [
    [
      'Generation',
      generation.number === 0 ? 'none yet' : `number ${generation.number}`,
      'agreements so far on who takes part',
    ],
    ['Members', list(generation.members), 'ids of the nodes whose votes a write needs'],
    [
      'In contact',
      `${count(inContact, 'node', 'nodes')} of ${nodes.length}`,
      `a majority is ${generation.majority} of ${generation.configured.length}`,
    ],
    [
      'Majority',
      count(generation.majority, 'node', 'nodes'),
      `so many of ${generation.configured.length} must be in contact`,
    ],
  ];
  renew(byId('generation'), facts, () => facts.map((each) => fact(...each)));
}

// ---- catching up

function remainingText({ remainingSeconds: left, paceBytesPerSecond: pace }) {
  if (left === null) return 'not known yet';
  if (left === 'never')
    return pace !== null && pace < 0 ? 'none: the rest grows' : 'none: the rest does not shrink';
  return left < 1 ? 'a moment' : `about ${duration(left)}`;
}

function showCatchUp({ catchUp }) {
  byId('catch-up').hidden = catchUp === null;
  if (catchUp === null) return;
  const { donor, sinceSeconds, lagBytes, replayedBytes, transactions, transactionsPerSecond } = catchUp;
  const { paceBytesPerSecond: pace } = catchUp;
  const known = lagBytes !== null;
  const share = known ? replayedBytes / Math.max(replayedBytes + lagBytes, 1) : 0;
  const percent = Math.min(Math.floor(share * 100), known && lagBytes > 0 ? 99 : 100);
  const bar = byId('catch-up-bar');
  bar.firstElementChild.style.width = `${percent}%`;
  bar.setAttribute('aria-valuenow', String(percent));
  bar.setAttribute('aria-label', `${percent} % of what is known to be missing is replayed`);
  const facts = [
    ['Donor', `node ${donor}`],
    ['Done', known ? `${percent} %` : 'not known yet'],
    ['Replayed', `${bytesText(replayedBytes)} of WAL`],
    ['To go', known ? `${bytesText(lagBytes)} of WAL` : 'not known yet'],
    ['Transactions', `${transactions.toLocaleString('en')} (${rate(transactionsPerSecond)} per second)`],
    [
      'Shrinks by',
      pace === null ? 'not known yet' : `${pace < 0 ? '−' : ''}${bytesText(Math.abs(pace))} per second`,
    ],
    ['Time left', remainingText(catchUp)],
    ['Since', duration(sinceSeconds)],
  ];
  renew(byId('catch-up-facts'), facts, () => facts.map((each) => fact(...each)));
  setText(
    byId('catch-up-text'),
    'The time left is what the pace of the last 15 seconds makes of the rest; what is written meanwhile is in it. ' +
      'Clients are not served here until all of it is replayed.',
  );
}

// ---- the cluster

/** How two nodes stand to each other, as far as it is known here. */
function edgeOf(one, other) {
  const known = (node) => node.isSelf || node.state !== 'away';
  const hears = (node, whom) => known(node) && node.hears.includes(whom.id);
  if (hears(one, other) && hears(other, one)) return 'up';
  return one.isSelf || other.isSelf || (known(one) && known(other)) ? 'cut' : 'unknown';
}

/** Places on a circle; few nodes stand as everybody would draw them. */
function placesOf(total, width, height, boxWidth, boxHeight) {
  const cx = width / 2;
  const cy = height / 2;
  if (total === 1) return [{ x: cx, y: cy }];
  const low = height - boxHeight / 2 - 4;
  if (total === 3)
    return [
      { x: cx, y: boxHeight / 2 + 4 },
      { x: width - boxWidth / 2 - 12, y: low },
      { x: boxWidth / 2 + 12, y: low },
    ];
  const rx = cx - boxWidth / 2 - 4;
  const ry = cy - boxHeight / 2 - 4;
  const start = total === 2 || total === 4 ? Math.PI + (total === 4 ? Math.PI / 4 : 0) : -Math.PI / 2;
  return Array.from({ length: total }, (_, at) => {
    const angle = start + (2 * Math.PI * at) / total;
    const stretch = total === 4 ? Math.SQRT2 : 1;
    return { x: cx + rx * stretch * Math.cos(angle), y: cy + ry * stretch * Math.sin(angle) };
  });
}

function drawMap({ nodes }) {
  const many = nodes.length > 6;
  const width = 360;
  const height = nodes.length <= 2 ? 110 : many ? 330 : nodes.length === 3 ? 190 : 240;
  const boxWidth = many ? 40 : 128;
  const boxHeight = many ? 40 : 52;
  const map = byId('map');
  map.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const places = placesOf(nodes.length, width, height, boxWidth, boxHeight);
  const parts = [];
  for (let a = 0; a < nodes.length; a++)
    for (let b = a + 1; b < nodes.length; b++)
      parts.push(...drawEdge(nodes[a], nodes[b], places[a], places[b], many));
  nodes.forEach((node, at) => parts.push(drawNode(node, places[at], boxWidth, boxHeight, many)));
  map.setAttribute(
    'aria-label',
    nodes.map((node) => `node ${node.id} ${stateOf(node.state).word}`).join('; '),
  );
  return parts;
}

function drawEdge(one, other, from, to, many) {
  const kind = edgeOf(one, other);
  const title = drawn('title', {
    text: `node ${one.id} and node ${other.id}: ${
      { up: 'hear each other', cut: 'do not hear each other', unknown: 'not known here' }[kind]
    }`,
  });
  const line = drawn('line', { class: `edge ${kind}`, x1: from.x, y1: from.y, x2: to.x, y2: to.y }, title);
  if (kind !== 'cut' || many) return [line];
  const x = (from.x + to.x) / 2;
  const y = (from.y + to.y) / 2;
  return [line, drawn('path', { class: 'cross', d: `M${x - 6} ${y - 6}l12 12M${x + 6} ${y - 6}l-12 12` })];
}

function drawNode(node, { x, y }, width, height, many) {
  const { tone, word } = stateOf(node.state);
  const title = drawn('title', { text: `node ${node.id}${node.isSelf ? ' (this one)' : ''}: ${word}` });
  const box = drawn('rect', {
    class: `box ${tone}${node.isSelf ? ' self' : ''}`,
    x: x - width / 2,
    y: y - height / 2,
    width,
    height,
    rx: 9,
  });
  if (many)
    return drawn('g', {}, title, box, drawn('text', { class: 'alone', x, y: y + 5, text: String(node.id) }));
  const icon = drawn(
    'g',
    { class: tone, transform: `translate(${x - width / 2 + 10} ${y - 8})` },
    shape(node.state),
  );
  const left = x - width / 2 + 34;
  return drawn(
    'g',
    {},
    title,
    box,
    icon,
    drawn('text', { x: left, y: y - 4, text: `Node ${node.id}` }),
    drawn('text', { class: 'word', x: left, y: y + 14, text: word }),
  );
}

const edgeLegend = [
  ['up', 'hear each other'],
  ['cut', 'do not hear each other'],
  ['unknown', 'not known here'],
];

function showMap(database) {
  const { nodes } = database;
  const key = nodes.map(({ id, isSelf, state, hears }) => [id, isSelf, state, hears]);
  renew(byId('map'), key, () => drawMap(database));
  renew(byId('map-legend'), edgeLegend, () => [
    ...edgeLegend.map(([kind, word]) =>
      legendItem(drawn('line', { class: `edge ${kind}`, x1: 0, y1: 5, x2: 32, y2: 5 }), word),
    ),
    legendItem(
      drawn('rect', { class: 'here', x: 6, y: 1.5, width: 20, height: 7, rx: 2 }),
      'thick border: this node',
    ),
  ]);
}

function legendItem(shown, word) {
  const drawing = drawn('svg', { viewBox: '0 0 32 10', 'aria-hidden': 'true' }, shown);
  return element('li', {}, drawing, element('span', { text: word }));
}

function linkText({ outgoing, incoming }) {
  if (outgoing && incoming) return 'both ways';
  if (outgoing) return 'only to it';
  return incoming ? 'only from it' : 'none';
}

function silenceText(seconds) {
  if (seconds === null) return 'never';
  return seconds < 1 ? 'within the last second' : `${duration(seconds)} ago`;
}

function roleOf({ isMember, isConfigured }) {
  if (!isConfigured) return 'joining, not counted yet';
  return isMember ? 'member' : 'left out';
}

function nodeFacts(node) {
  const facts = [['generation', roleOf(node)]];
  if (node.link !== null) {
    facts.push(['link', linkText(node.link)], ['last heard', silenceText(node.link.silenceSeconds)]);
    facts.push(['sent', bytesText(node.link.sentBytes)], ['received', bytesText(node.link.receivedBytes)]);
  }
  if (node.lagBytes !== null) facts.push(['still to replay', `${bytesText(node.lagBytes)} of WAL`]);
  if (node.address !== '') facts.push([node.isSelf ? 'clients connect to' : 'gateway at', node.address]);
  return facts;
}

function showNodes({ nodes, reason: ownReason }) {
  const shown = nodes.map((node) => ({
    id: node.id,
    name: `Node ${node.id}${node.isSelf ? ' (this one)' : ''}`,
    state: node.state,
    reason: node.isSelf && node.reason === ownReason ? '' : node.reason,
    facts: nodeFacts(node),
  }));
  renew(byId('nodes'), shown, () =>
    shown.map(({ name, state, reason, facts }) => {
      const { tone, word } = stateOf(state);
      const title = element('div', { class: 'name' }, element('span', { text: name }));
      title.append(element('span', { class: `${tone}-text`, text: word }));
      const item = element('li', {}, glyph(state, tone), title);
      if (reason !== '') item.append(element('p', { class: 'small', text: reason }));
      item.append(element('dl', { class: 'facts' }, ...facts.map((each) => fact(...each))));
      return item;
    }),
  );
}

// ---- figures

function sparkline(label, values, unit, short = unit) {
  const numbers = values.filter((value) => value !== null);
  const top = Math.max(...numbers, 0);
  const last = values.at(-1) ?? null;
  const width = 120;
  const height = 30;
  const from = width - values.length;
  const x = (at) => from + at + 0.5;
  const y = (value) => (top === 0 ? height - 1 : height - 1 - (value / top) * (height - 4));
  let line = '';
  let area = '';
  let begun = -1;
  values.forEach((value, at) => {
    if (value === null) {
      if (begun >= 0) area += `L${x(at - 1)} ${height}Z`;
      begun = -1;
      return;
    }
    line += `${begun < 0 ? 'M' : 'L'}${x(at)} ${y(value).toFixed(2)}`;
    area +=
      begun < 0 ? `M${x(at)} ${height}L${x(at)} ${y(value).toFixed(2)}` : `L${x(at)} ${y(value).toFixed(2)}`;
    begun = at;
  });
  if (begun >= 0) area += `L${x(values.length - 1)} ${height}Z`;
  const said = `${label} over the last two minutes: now ${last === null ? 'none' : rate(last)}, at most ${rate(top)} ${unit}`;
  const options = {
    class: 'spark',
    viewBox: `0 0 ${width} ${height}`,
    preserveAspectRatio: 'none',
    role: 'img',
  };
  return [
    drawn(
      'svg',
      { ...options, 'aria-label': said },
      drawn('path', { class: 'ground', d: `M0 ${height - 0.5}H${width}` }),
      drawn('path', { class: 'area', d: area }),
      drawn('path', { class: 'line', d: line }),
    ),
    element(
      'div',
      { class: 'spark-scale' },
      element('span', { text: '2 min ago' }),
      element('span', { text: numbers.length === 0 ? 'nothing yet' : `highest ${rate(top)} ${short}` }),
      element('span', { text: 'now' }),
    ),
  ];
}

function value(number, unit, label) {
  return element(
    'span',
    { 'aria-label': `${label}: ${number} ${unit}`, role: 'group' },
    element('span', { class: 'number', text: number }),
    element('span', { class: 'unit', text: unit }),
  );
}

function tile(title, values, explanation, ...more) {
  return element(
    'article',
    { class: 'card tile' },
    element('h3', { text: title }),
    element('div', { class: 'value' }, ...values),
    ...more,
    element('p', { class: 'muted small', text: explanation }),
  );
}

function bar(shares) {
  const fills = shares.map(([share, tone]) => {
    const fill = element('div', { class: `fill ${tone}` });
    fill.style.width = `${Math.min(share, 1) * 100}%`;
    return fill;
  });
  return element('div', { class: 'bar', 'aria-hidden': 'true' }, ...fills);
}

function parts(rows) {
  return element(
    'ul',
    { class: 'parts' },
    ...rows.map(([name, text]) =>
      element('li', {}, element('span', { text: name }), element('span', { text })),
    ),
  );
}

const reasonWords = {
  conflict: 'older transaction of another node',
  gave_way: 'open session gave way to an older one',
  lock: 'lock not released in time',
  member: 'a member went away',
  generation: 'a generation ended',
  constraint: 'constraint on another node',
  cancelled: 'cancelled by its client',
  serialization: 'not serializable, or a deadlock',
  other: 'refused for another reason',
};

function writesTile({ history, totals }) {
  const values = history.map(({ writes }) => writes);
  return tile(
    'Writes of this node',
    [value(rate(values.at(-1) ?? 0), 'per second', 'writes')],
    `${count(totals.committed, 'transaction', 'transactions')} committed on all nodes since the start, ` +
      `${count(totals.aborted, 'attempt', 'attempts')} aborted, ${count(totals.repeats, 'statement', 'statements')} repeated`,
    ...sparkline('Writes', values, 'per second', '/ s'),
  );
}

function readsTile({ history, totals, readMs }) {
  const values = history.map(({ reads }) => reads);
  const half = readMs.p50 === null ? '' : `; half of them take less than ${millis(readMs.p50)} ms`;
  return tile(
    'Reads of this node',
    [value(rate(values.at(-1) ?? 0), 'per second', 'reads')],
    `${count(totals.reads, 'read', 'reads')} since the start, answered by its own server${half}`,
    ...sparkline('Reads', values, 'per second', '/ s'),
  );
}

function commitTile({ history, commitMs }) {
  const values = history.map((point) => point.commitMs);
  const shown =
    commitMs.p50 === null
      ? [value('none', 'in the last 10 s', 'commits')]
      : [
          value(millis(commitMs.p50), 'ms for half of them', 'median of a commit'),
          value(millis(commitMs.p99), 'ms for 99 %', '99th percentile of a commit'),
        ];
  return tile(
    'Time of a commit',
    shown,
    'From PREPARE here to the answer, when all nodes have it; the last 10 seconds. The line is the mean.',
    ...sparkline('Time of a commit', values, 'ms'),
  );
}

function conflictsTile({ history, conflicts, totals }) {
  const values = history.map((point) => point.conflicts);
  const rows = Object.entries(conflicts)
    .filter(([, number]) => number > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([reason, number]) => [reasonWords[reason] ?? reason, `${number.toLocaleString('en')} times`]);
  return tile(
    'Conflicts',
    [value(rate(values.at(-1) ?? 0), 'per second', 'conflicts')],
    `${count(totals.conflicts, 'transaction', 'transactions')} since the start gave way or were refused`,
    ...sparkline('Conflicts', values, 'per second', '/ s'),
    ...(rows.length === 0 ? [] : [parts(rows)]),
  );
}

function clientsTile({ clients }) {
  const { total, most, idle, active, inTransaction, committing, loggingIn, unsupervised } = clients;
  const rows = [
    ['idle', idle],
    ['running a statement', active],
    ['idle in a transaction', inTransaction],
    ['committing', committing],
    ['logging in', loggingIn],
    ['unsupervised (mtm_admin)', unsupervised],
  ].filter(([, number]) => number > 0);
  const share = most === 0 ? 0 : total / most;
  return tile(
    'Clients',
    [value(total.toLocaleString('en'), `of ${most.toLocaleString('en')} sessions`, 'client sessions')],
    'Sessions with this node, of max_connections.',
    bar([[share, share > 0.9 ? 'bad' : share > 0.75 ? 'warn' : '']]),
    ...(rows.length === 0
      ? []
      : [parts(rows.map(([name, number]) => [name, count(number, 'session', 'sessions')]))]),
  );
}

function historyTile({ retainedWalBytes, retainedWalLimitBytes, nodes }) {
  const { number, unit } = bytes(retainedWalBytes);
  const share = retainedWalLimitBytes === 0 ? 0 : retainedWalBytes / retainedWalLimitBytes;
  const away = nodes.filter(({ state, isSelf }) => !isSelf && state !== 'online').map(({ id }) => id);
  const limit =
    retainedWalLimitBytes === 0
      ? 'There is no limit (max_retained_wal).'
      : `Beyond ${bytesText(retainedWalLimitBytes)} (max_retained_wal) it is given up.`;
  const whom =
    away.length === 0
      ? 'All nodes are there; it stays small.'
      : `Kept for node${away.length > 1 ? 's' : ''} ${list(away)}.`;
  return tile(
    'Kept history (WAL)',
    [value(number, unit, 'kept history')],
    `${whom} ${limit}`,
    ...(retainedWalLimitBytes === 0 ? [] : [bar([[share, share > 0.8 ? 'bad' : share > 0.5 ? 'warn' : '']])]),
  );
}

function workTile({ apply, open }) {
  return tile(
    'Work for other nodes',
    [value(String(apply.transactions), 'being applied', 'transactions of other nodes being applied')],
    'Transactions of other nodes on this one’s server.',
    parts([
      ['connections for it', count(apply.connections, 'connection', 'connections')],
      ['waiting for the server', bytesText(apply.unappliedBytes)],
      ['of this node, not finished everywhere', count(open.own, 'transaction', 'transactions')],
      ['of others, not finished everywhere', count(open.foreign, 'transaction', 'transactions')],
    ]),
  );
}

function processTile({ memoryBytes, loopDelay, uptimeSeconds }, { clientMemoryBytes }) {
  const { number, unit } = bytes(memoryBytes);
  return tile(
    'Gateway process',
    [value(number, `${unit} of memory`, 'memory of the gateway')],
    'Late: by how much it came too late to its work in the last minute.',
    parts([
      ['of it kept for clients', bytesText(clientMemoryBytes)],
      ['late, usually', `${millis(loopDelay.p50Ms)} ms`],
      ['late, at most', `${millis(loopDelay.maxMs)} ms`],
      ['running for', duration(uptimeSeconds)],
    ]),
  );
}

function safetyTile({ totals }) {
  const wrong = totals.unsupervisedWrites + totals.alarms;
  return tile(
    'Past the gateway',
    [value(totals.unsupervisedWrites.toLocaleString('en'), 'unsupervised writes', 'unsupervised writes')],
    wrong === 0
      ? 'Nobody has written to the server past the gateway.'
      : 'The nodes differ since: compare and repair them (mtm-gateway compare).',
    parts([
      ['alarms', count(totals.alarms, 'alarm', 'alarms')],
      ['outcomes unknown to clients', count(totals.unknown, 'transaction', 'transactions')],
    ]),
  );
}

function showTiles(report, database) {
  byId('tiles').replaceChildren(
    writesTile(database),
    readsTile(database),
    commitTile(database),
    conflictsTile(database),
    clientsTile(database),
    historyTile(database),
    workTile(database),
    safetyTile(database),
    processTile(report, database),
  );
}

// ---- events

const mostEvents = 12;
const levelTones = { info: '', warn: 'warn', error: 'bad' };
const levelWords = { info: 'for information', warn: 'a warning', error: 'an error' };

function showEvents({ events }) {
  const shownEvents = events.slice(0, mostEvents);
  renew(byId('events'), shownEvents, () =>
    shownEvents.length === 0
      ? [element('li', {}, element('p', { class: 'muted', text: 'Nothing yet.' }))]
      : shownEvents.map(({ at, level, text, times }) => {
          const icon = glyph(level, levelTones[level] ?? '');
          icon.removeAttribute('aria-hidden');
          icon.setAttribute('role', 'img');
          icon.setAttribute('aria-label', levelWords[level] ?? level);
          const shown = times > 1 ? `${text} (${times} times)` : text;
          return element('li', {}, icon, element('time', { text: clock(at) }), element('p', { text: shown }));
        }),
  );
}

// ---- everything

let chosen = decodeURIComponent(location.hash.slice(1));
let lastReport;

function showChoice({ databases }) {
  byId('database-choice').hidden = databases.length < 2;
  const names = databases.map(({ database }) => database);
  if (!names.includes(chosen)) chosen = names[0];
  const select = byId('database');
  renew(select, names, () => names.map((name) => element('option', { value: name, text: name })));
  if (select.value !== chosen) select.value = chosen;
}

function show(report) {
  lastReport = report;
  showChoice(report);
  const database = report.databases.find((each) => each.database === chosen);
  if (database === undefined) return;
  setText(byId('node-name'), `Node ${report.node}`);
  const size = count(database.nodes.length, 'node', 'nodes');
  setText(byId('where'), `cluster ${report.cluster} of ${size}, database ${database.database}`);
  setText(byId('version'), `mtm-gateway ${report.version}`);
  document.title = `node ${report.node}: ${stateOf(database.status).word} – ${report.cluster}`;
  showHeadline(database);
  showCatchUp(database);
  showMap(database);
  showNodes(database);
  showTiles(report, database);
  showEvents(database);
  byId('content').hidden = false;
}

let failures = 0;

async function poll() {
  try {
    const answer = await fetch('status.json', { cache: 'no-store', signal: AbortSignal.timeout(patienceMs) });
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    show(await answer.json());
    failures = 0;
    byId('stale').hidden = true;
    setText(byId('fresh'), `as of ${clock(Date.now())}`);
  } catch {
    failures++;
    if (failures < 2) return;
    const since = lastReport === undefined ? '' : ` What stands below is of ${clock(lastReport.at)}.`;
    setText(byId('stale'), `This gateway does not answer.${since} The page goes on asking.`);
    byId('stale').hidden = false;
  }
}

/** A page that nobody looks at asks nobody. */
async function run() {
  for (;;) {
    if (!document.hidden) await poll();
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

byId('database').addEventListener('change', (event) => {
  chosen = event.target.value;
  history.replaceState(null, '', `#${encodeURIComponent(chosen)}`);
  if (lastReport !== undefined) show(lastReport);
});
void run();
