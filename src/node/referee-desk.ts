/**
 * Where the node and its referee meet: the machine's orders go out, what comes of them is told to it.
 * Rule: each life of the node in this process has a contact of its own, because answers carry the tokens of
 * one machine. The adapters are loaded only where there is a referee.
 */
import type { Chronicle } from '../telemetry/chronicle.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { RefereeNews, RefereeTimes } from '../core/node/arbiter.ts';
import type { RefereeContact } from '../io/referee/referee-contact.ts';
import type { RefereeCall } from '../io/referee/referee-link.ts';

export class RefereeDesk {
  readonly #config: GatewayConfig;
  readonly #event: (event: (now: number) => RefereeNews) => void;
  readonly #chronicle: Chronicle;
  #contact: RefereeContact | undefined;
  #stopped = false;

  constructor(
    config: GatewayConfig,
    chronicle: Chronicle,
    event: (event: (now: number) => RefereeNews) => void,
  ) {
    this.#config = config;
    this.#chronicle = chronicle;
    this.#event = event;
  }

  /** What the machine is made with; undefined: there is no referee. */
  static times(config: GatewayConfig): RefereeTimes | undefined {
    if (config.referee === undefined) return undefined;
    const { heartbeatRecvTimeoutMs: recvTimeoutMs } = config;
    return { callTimeoutMs: recvTimeoutMs, retryMs: recvTimeoutMs / 4, reportEveryMs: 5 * recvTimeoutMs };
  }

  /** Rejects with GatewayError (referee-unsuitable, file-unreadable): the node must not start with it. */
  async start(): Promise<void> {
    const { referee: address, nodeId, peers, clusterName, clusterSecret, ...rest } = this.#config;
    const other = peers[0]?.id;
    if (address === undefined || other === undefined) return;
    const module = await import('../io/referee/referee-contact.ts');
    if (this.#stopped) return;
    this.#contact = new module.RefereeContact({
      address,
      cluster: { clusterName, clusterSecret },
      self: nodeId,
      other,
      timeoutMs: rest.heartbeatRecvTimeoutMs,
      onConnected: () => {
        const text = 'the referee is connected';
        this.#chronicle.tell('info', 'referee', text, text, {});
        this.#tell((now) => ({ kind: 'referee-connected', now }));
      },
      onLost: (reason) => {
        const text = 'the referee cannot be reached';
        this.#chronicle.tell('warn', 'referee-lost', `${text}: ${reason}`, text, { reason });
        this.#tell((now) => ({ kind: 'referee-lost', now, reason }));
      },
      onAnswer: (token, answer) => this.#tell((now) => ({ kind: 'referee-answered', now, token, answer })),
    });
    await this.#contact.start();
  }

  #tell(event: (now: number) => RefereeNews): void {
    if (!this.#stopped) this.#event(event);
  }

  carryOut(call: RefereeCall): void {
    if (call.kind === 'request-grant') {
      const { generation } = call;
      const text = `the referee is asked whether this node goes on alone in generation ${generation}`;
      this.#chronicle.tell('warn', 'referee-asked', text, 'the referee is asked for a grant', { generation });
    }
    this.#contact?.carryOut(call);
  }

  stop(): void {
    this.#stopped = true;
    this.#contact?.stop();
  }
}
