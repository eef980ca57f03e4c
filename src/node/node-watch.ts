/**
 * Sees the effects of a node's machine on their way: counts, takes times, and tells of what people should
 * know.
 * Rule: it changes nothing; of a transaction it sees three effects, each for a few comparisons and an
 * addition.
 */
import { abortReason } from '../core/commit/abort-reason.ts';
import type { Answer } from '../core/commit/event.ts';
import type { Gid, NodeId } from '../core/identity.ts';
import type { NodeEffect } from '../core/node/node-event.ts';
import type { NodeMachine } from '../core/node/node-machine.ts';
import type { SessionTimes } from '../io/clients/session-times.ts';
import type { NodeTelemetry } from '../telemetry/node-telemetry.ts';

export class NodeWatch {
  readonly #telemetry: NodeTelemetry;
  readonly #machine: NodeMachine;
  readonly #self: NodeId;
  /** Of the session that waits for the gid, if one does. */
  readonly #timesOf: (gid: Gid) => SessionTimes | undefined;
  #generation = 0;
  #serving: number | undefined;

  constructor(
    telemetry: NodeTelemetry,
    machine: NodeMachine,
    self: NodeId,
    timesOf: (gid: Gid) => SessionTimes | undefined,
  ) {
    this.#telemetry = telemetry;
    this.#machine = machine;
    this.#self = self;
    this.#timesOf = timesOf;
  }

  /** Called with each effect just before it is carried out. */
  sees(effect: NodeEffect): void {
    switch (effect.kind) {
      case 'send':
        if (effect.message.kind !== 'vote') return;
        if (effect.message.refusal === undefined) this.#telemetry.tally.votesYes++;
        else this.#telemetry.tally.votesNo++;
        return;
      case 'finish':
      case 'finish-open':
        if (effect.finish === 'commit') this.#timesOf(effect.gid)?.decided();
        return;
      case 'answer':
        return this.#answered(effect.gid, effect.answer);
      case 'interrupt-session':
        this.#telemetry.tally.conflicts.gave_way++;
        return;
      case 'alarm':
      case 'serve':
      case 'status-changed':
      case 'configuration-changed':
      case 'member-lost':
      case 'member-back':
        return this.#news(effect);
      default:
    }
  }

  #answered(gid: Gid, answer: Answer): void {
    const { tally } = this.#telemetry;
    switch (answer.kind) {
      case 'committed':
        if (this.#timesOf(gid)?.committed() === false) tally.empty++;
        else tally.committed++;
        return;
      case 'aborted':
        tally.aborted++;
        tally.conflicts[abortReason(answer.refusal)]++;
        return;
      case 'unknown':
        tally.unknown++;
    }
  }

  #news(effect: NodeEffect): void {
    const { chronicle, tally } = this.#telemetry;
    switch (effect.kind) {
      case 'alarm': {
        const { gid, text } = effect;
        const message = 'the nodes may differ: stop writing and compare them';
        tally.alarms++;
        return chronicle.tell('error', 'alarm', `${message} (${text})`, message, { gid, text });
      }
      case 'serve':
        return this.#serve(effect.generation);
      case 'configuration-changed':
        return this.#chosen();
      case 'status-changed': {
        const { status, reason } = effect;
        const level = status === 'online' ? 'info' : 'warn';
        const text = `status ${status}${reason === '' ? '' : `: ${reason}`}`;
        return chronicle.tell(level, 'status', text, 'the status of the node has changed', {
          status,
          reason,
        });
      }
      case 'member-lost': {
        const { node, reason } = effect;
        const message = 'a member cannot take part';
        return chronicle.tell('warn', 'member-lost', `node ${node} cannot take part: ${reason}`, message, {
          node,
          reason,
        });
      }
      case 'member-back': {
        const { node } = effect;
        return chronicle.tell('info', 'member-back', `node ${node} takes part`, 'a member takes part again', {
          node,
        });
      }
      default:
    }
  }

  #serve(generation: number | undefined): void {
    const { chronicle, tally } = this.#telemetry;
    const former = this.#serving;
    this.#serving = generation;
    if (generation === undefined) {
      const text = `this node has left generation ${former ?? 0}`;
      const fields = { generation: former };
      return chronicle.tell('info', 'generation-left', text, 'this node has left its generation', fields);
    }
    tally.generationsJoined++;
    const members = this.#machine.generation?.members ?? [];
    const text = `this node is online in generation ${generation} with members ${members.join(', ')}`;
    chronicle.tell('info', 'generation-online', text, 'this node is online', { generation, members });
  }

  /** A record is known: who is a member, and whom it leaves out and why, as far as this node sees it. */
  #chosen(): void {
    const { generation: record, liveness } = this.#machine;
    if (record === undefined || record.number === this.#generation) return;
    this.#generation = record.number;
    const { number: generation, members, configured, joining } = record;
    const missing = liveness.missing(performance.now());
    const leftOut = configured
      .filter((node) => !members.includes(node))
      .map((node) => {
        const seen = missing.find((one) => one.node === node)?.text ?? 'not in contact';
        return { node, reason: node === this.#self ? 'this node' : seen };
      });
    const without = leftOut.map(({ node, reason }) => `node ${node} (${reason})`).join(', ');
    const text = `generation ${generation}: members ${members.join(', ')}`;
    const fields = { generation, members, configured, joining, leftOut };
    const level = leftOut.length > 0 ? 'warn' : 'info';
    const shown = without === '' ? text : `${text}; without ${without}`;
    this.#telemetry.chronicle.tell(level, 'generation-chosen', shown, 'a generation was chosen', fields);
  }
}
