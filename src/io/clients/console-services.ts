/** What sessions of the admin console need of the gateway; the composition in src/node provides it. */
import type { ActionResult, ConsoleAction } from '../../core/console/console-machine.ts';
import type { ConsoleFacts } from '../../core/console/facts.ts';
import type { ConsoleSession } from './console-session.ts';

export interface ConsoleServices {
  readonly facts: ConsoleFacts;
  /** The database of the server in which the login is verified. */
  readonly loginDatabase: string;
  /** Never rejects. `givenUp`: the client does not want to wait any more, or is gone. */
  act(action: ConsoleAction, user: string, givenUp: AbortSignal): Promise<ActionResult>;
  started(session: ConsoleSession): void;
  ended(session: ConsoleSession): void;
}
