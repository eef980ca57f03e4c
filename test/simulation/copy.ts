/**
 * What a base backup of a server would hold at this moment, as mtm.become makes it for the new node; what is
 * prepared in it is rolled back before anything else happens. Only what is durable there is in it.
 */
import { ballotOf, freshState } from '../../src/core/generation/record.ts';
import type { Identity } from './server-record.ts';
import { Server } from './server.ts';
import type { World } from './world.ts';

export function copyOf(world: World, source: Server, identity: Identity): Server {
  const { durable, flushed, history, rows } = source;
  const { copiedState, seedsOnly = Infinity } = world.sabotage;
  const made = new Server(world, identity);
  made.history.push(...history.slice(0, flushed));
  made.flushed = made.retained = flushed;
  for (const [key, row] of rows) made.rows.set(key, row);
  for (const entry of history.slice(flushed).reverse()) {
    if (entry.kind !== 'commit') continue;
    for (const [key, row] of entry.undo) {
      if (row === undefined) made.rows.delete(key);
      else made.rows.set(key, row);
    }
  }
  const { chosen, lastOnline: generation } = durable;
  made.durable = copiedState ?? { ...freshState(), promised: ballotOf(chosen!), chosen };
  made.incarnation = source.incarnation;
  made.floor = source.floor;
  made.seed = {
    source: { id: source.identity.id, since: source.identity.since },
    generation,
    copyEnd: Math.min(flushed, source.retained + seedsOnly),
    done: seedsOnly === 0,
  };
  return made;
}
