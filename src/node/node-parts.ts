/** What a node is made of, once the server is checked and taken over. Made in gateway.ts. */
import type { Logger } from 'pino';
import type { GatewayConfig } from '../config/schema.ts';
import type { Classifier } from '../core/statement/classifier.ts';
import type { Control, TakeOver } from '../io/postgres/control.ts';

export interface NodeParts {
  readonly config: GatewayConfig;
  readonly log: Logger;
  readonly control: Control;
  /** For looks at the lock table: nothing urgent waits behind them. */
  readonly observer: Control;
  readonly takeOver: TakeOver;
  readonly classifier: Classifier;
  readonly announceKey: Uint8Array;
  readonly shownSettings: ReadonlyMap<string, string>;
}
