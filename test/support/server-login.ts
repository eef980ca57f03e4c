/** What an embedded server asks of those who come: passwords, and TLS with a certificate of the test's own. */
import { chmodSync, chownSync, copyFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from 'pg';
import type { NodeLayout } from '../../src/io/launcher/node-layout.ts';
import type { Certificate } from './certificates.ts';
import { eventually } from './polling.ts';

const rules = [
  'local all postgres trust',
  'local all all scram-sha-256',
  'host all postgres 127.0.0.1/32 trust',
  'host all all 127.0.0.1/32 scram-sha-256',
  'host replication postgres 127.0.0.1/32 trust',
];

/** Passwords from everybody but the gateway's own superuser; `superuser` has a session with the server. */
export async function askForPasswords({ dataFolder }: NodeLayout, superuser: Client): Promise<void> {
  writeFileSync(join(dataFolder, 'pg_hba.conf'), `${rules.join('\n')}\n`);
  await superuser.query('SELECT pg_reload_conf()');
}

/** The server offers TLS; `superuser` has a session with it. */
export async function offerTls(
  { dataFolder }: NodeLayout,
  { cert, key }: Certificate,
  superuser: Client,
): Promise<void> {
  const owner = statSync(dataFolder);
  for (const [from, name] of [
    [cert, 'server.crt'],
    [key, 'server.key'],
  ] as const) {
    const file = join(dataFolder, name);
    copyFileSync(from, file);
    chownSync(file, owner.uid, owner.gid);
    chmodSync(file, 0o600);
  }
  await superuser.query('ALTER SYSTEM SET ssl = on');
  await superuser.query('SELECT pg_reload_conf()');
  await eventually('the server offers TLS', async () => {
    const { rows } = await superuser.query<{ ssl: string }>('SHOW ssl');
    return rows[0]?.ssl === 'on';
  });
}
