/**
 * COMMIT PREPARED and ROLLBACK PREPARED on the control connection, repeated until the server has said done or
 * missing.
 */
import type { Finish } from '../../src/core/commit/event.ts';
import type { NodeEvent } from '../../src/core/node/node-event.ts';
import type { Gid } from '../../src/core/identity.ts';
import type { Server } from './server.ts';
import type { World } from './world.ts';

export interface FinisherOwner {
  readonly server: Server;
  readonly incarnation: number | undefined;
  deliver(action: () => void): void;
  step(event: NodeEvent): void;
}

const retryMs = 10;

export function finishPrepared(world: World, owner: FinisherOwner, gid: Gid, finish: Finish): void {
  const { server, incarnation } = owner;
  let done = false;
  const over = (): boolean => done || owner.incarnation !== incarnation;
  const attempt = (): void => {
    if (over()) return;
    if (!server.up) return world.scheduler.after(retryMs, attempt);
    const { epoch } = server;
    server.finish(gid, finish === 'commit', (missing) => {
      if (over()) return;
      done = true;
      owner.deliver(() => owner.step({ kind: 'finish-ended', gid, finish, missing }));
    });
    const watch = (): void => {
      if (over()) return;
      if (server.epoch === epoch) world.scheduler.after(retryMs, watch);
      else attempt();
    };
    world.scheduler.after(retryMs, watch);
  };
  attempt();
}
