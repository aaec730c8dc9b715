import { once } from 'node:events';
import { status, type ServerDuplexStream } from '@grpc/grpc-js';
import { v4 as uuid } from 'uuid';
import {
  Channel,
  type Frame,
  type OpenTransfer,
  type TransferFromAgent,
  type TransferToAgent,
} from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import type { Clock } from '../../process/clock.ts';
import { ApiError } from '../http/errors.ts';
import type { Agents } from './agents.client.ts';

type Call = ServerDuplexStream<TransferFromAgent, TransferToAgent>;
type Wanted = Omit<OpenTransfer, 'transferId'>;

interface Expected {
  readonly runnerName: string;
  arrived(call: Call, messages: Messages): void;
}

/** An agent that was asked to dial and does not come is given up. */
const arrivalMs = 10_000;
const mostExpected = 1_000;
const frameBytes = 256 * 1024;

/** Bulk data between callers and agents: the agent is asked for it on its stream, and dials for it. */
export class Transfers {
  readonly #agents: Pick<Agents, 'demand'>;
  readonly #clock: Clock;
  readonly #expected = new Map<string, Expected>();

  constructor(agents: Pick<Agents, 'demand'>, clock: Clock) {
    this.#agents = agents;
    this.#clock = clock;
  }

  /** A call that an agent has opened. Ends with NOT_FOUND when nobody waits for it. */
  accept(call: Call): void {
    call.on('error', () => undefined);
    this.#greet(call).catch(() => call.destroy());
  }

  /** What the agent sends, until it says that nothing follows. */
  async *read(runnerName: string, wanted: Wanted, signal: AbortSignal): AsyncGenerator<Frame> {
    const { call, messages } = await this.#open(runnerName, wanted);
    const abort = () => call.emit('error', { code: status.CANCELLED, details: 'Nobody reads it any more.' });
    signal.addEventListener('abort', abort, { once: true });
    try {
      for (;;) {
        signal.throwIfAborted();
        const message = await messages.next();
        if (message === undefined)
          throw new ApiError('OutcomeUnknown', 'The agent ended the transfer before its end: ask again for the rest.');
        if (message.$case !== 'frame') continue;
        yield message.value;
        if (message.value.last) return;
      }
    } finally {
      signal.removeEventListener('abort', abort);
      call.end();
    }
  }

  /** Sends the chunks to the agent, and resolves when it has taken all of them. `isLast`: nothing follows in any other transfer. */
  async write(runnerName: string, wanted: Wanted, chunks: AsyncIterable<Uint8Array>, isLast: boolean): Promise<number> {
    const { call, messages } = await this.#open(runnerName, wanted);
    let [offset, frames] = [0, 0];
    const send = async (data: Uint8Array, last: boolean) => {
      const frame = { channel: Channel.CHANNEL_STDIN, offset, data: data as Buffer, last };
      offset += data.length;
      frames += 1;
      if (!call.write({ frame }) && !call.destroyed) await Promise.race([once(call, 'drain'), once(call, 'close')]);
    };
    try {
      for await (const chunk of chunks)
        for (let at = 0; at < chunk.length; at += frameBytes) await send(chunk.subarray(at, at + frameBytes), false);
      if (isLast) await send(new Uint8Array(), true);
      // Each frame is answered when it was taken.
      for (let [answers, taken] = [0, 0]; answers < frames;) {
        const message = await messages.next();
        if (message === undefined)
          throw new ApiError('OutcomeUnknown', `The agent has taken ${taken} of ${offset} bytes.`, { details: { takenBytes: taken } });
        if (message.$case !== 'taken') continue;
        answers += 1;
        taken = message.value;
      }
      return offset;
    } finally {
      call.end();
    }
  }

  async #open(runnerName: string, wanted: Wanted): Promise<Arrival> {
    if (this.#expected.size >= mostExpected) throw new ApiError('TransferUnavailable', 'Too many transfers begin at once.');
    const transferId = uuid();
    const arrival = Promise.withResolvers<Arrival>();
    arrival.promise.catch(() => undefined);
    this.#expected.set(transferId, { runnerName, arrived: (call, messages) => arrival.resolve({ call, messages }) });
    const late = () => arrival.reject(new ApiError('TransferUnavailable', 'The agent did not dial for the transfer.'));
    const timer = this.#clock.after(arrivalMs, late);
    try {
      await this.#agents.demand(runnerName, { $case: 'openTransfer', value: { ...wanted, transferId } });
      return await arrival.promise;
    } finally {
      timer.cancel();
      this.#expected.delete(transferId);
    }
  }

  async #greet(call: Call): Promise<void> {
    const messages = new Messages(call);
    const timer = this.#clock.after(arrivalMs, () => call.destroy());
    const first = await messages.next();
    timer.cancel();
    const hello = first?.$case === 'hello' ? first.value : undefined;
    const expected = hello === undefined ? undefined : this.#expected.get(hello.transferId);
    if (hello === undefined || expected?.runnerName !== hello.runnerName) {
      call.emit('error', { code: status.NOT_FOUND, details: 'Nobody waits for this transfer.' });
      return;
    }
    this.#expected.delete(hello.transferId);
    expected.arrived(call, messages);
  }
}

interface Arrival {
  readonly call: Call;
  readonly messages: Messages;
}

/** What the agent says in a transfer, one after another. */
class Messages {
  readonly #iterator: AsyncIterator<TransferFromAgent, undefined>;

  constructor(call: Call) {
    this.#iterator = (call as AsyncIterable<TransferFromAgent, undefined>)[Symbol.asyncIterator]();
  }

  /** Undefined: it says nothing more. A message of a newer version is passed over. */
  async next(): Promise<TransferFromAgent['message']> {
    for (;;) {
      const { done, value } = await this.#iterator.next();
      if (done === true) return undefined;
      if (value.message !== undefined) return value.message;
    }
  }
}
