import { open, rm, type FileHandle } from 'node:fs/promises';
import { type Clock, sleep } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { Channel, type Frame, type OpenTransfer, type TransferHello } from '../proto/gen/berth/agent/v1/tasks.ts';
import type { TransferEvents, TaskPeer, TransferStream } from './peer.ts';
import type { StdinFeed } from './stdin.client.ts';

export interface TransferOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly hello: (transferID: string) => TransferHello;
}

/** Output of a task that is sent as it grows. */
export interface GrowingOutput {
  readonly files: readonly { readonly channel: Channel; readonly path: string; readonly offset: number }[];
  /** Whether nothing will be written any more. */
  readonly hasEnded: () => boolean;
  readonly follow: boolean;
}

const frameBytes = 128 * 1024;
const followMs = 25;

/** Bulk data of tasks, each on a stream of its own that this side dials. A slow pod is waited for, and nothing else waits with it. */
export class Transfers {
  readonly #options: TransferOptions;
  #open = 0;

  constructor(options: TransferOptions) {
    this.#options = options;
  }

  get open(): number {
    return this.#open;
  }

  /** Sends files from their offsets on: to the end of the task when it is followed, else what there is. */
  send(peer: TaskPeer, request: OpenTransfer, output: GrowingOutput): void {
    this.#run(peer, request, ignoreFrames, async (stream, ended) => {
      const opened: OpenedOutput[] = [];
      try {
        for (const { path, channel, offset } of output.files) opened.push({ file: await open(path, 'r'), channel, offset });
        for (;;) {
          // Asked before reading: what was written until the end is read then.
          const isLast = output.hasEnded() || !output.follow;
          for (const one of opened) await sendAll(stream, one, ended);
          if (isLast) break;
          await sleep(this.#options.clock, followMs, ended);
        }
        await stream.send(frame({ channel: Channel.CHANNEL_UNSPECIFIED, offset: 0, data: Buffer.alloc(0), last: true }));
      } finally {
        await Promise.all(opened.map(({ file }) => file.close()));
      }
    });
  }

  /** Takes what the pod has for the stdin of a task. */
  feed(peer: TaskPeer, request: OpenTransfer, stdin: StdinFeed): void {
    let taken = 0;
    const take = async (stream: TransferStream, { data, last }: Frame) => {
      await stdin.feed(data);
      if (last) await stdin.end();
      taken += data.length;
      await stream.send({ message: { $case: 'taken', value: taken } });
      return last;
    };
    this.#receive(peer, request, take, () => {
      stdin.release();
      return Promise.resolve();
    });
  }

  /** Takes an input into a file. `done` is told whether all of it came. */
  upload(peer: TaskPeer, request: OpenTransfer, path: string, mostBytes: number, done: (isWhole: boolean) => void): void {
    let file: FileHandle | undefined;
    let size = 0;
    let isWhole = false;
    const take = async (stream: TransferStream, { data, last }: Frame) => {
      size += data.length;
      if (size > mostBytes) throw new Error(`an upload has more than ${mostBytes} bytes`);
      file ??= await open(path, 'w', 0o600);
      await file.write(data);
      isWhole = last;
      if (last) done(true);
      await stream.send({ message: { $case: 'taken', value: size } });
      return last;
    };
    this.#receive(peer, request, take, async () => {
      await file?.close();
      if (isWhole) return;
      await rm(path, { force: true });
      done(false);
    });
  }

  /** Frames one after the other; `take` says whether it was the last. */
  #receive(
    peer: TaskPeer,
    request: OpenTransfer,
    take: (stream: TransferStream, frame: Frame) => Promise<boolean>,
    finish: () => Promise<void>,
  ): void {
    const frames: Frame[] = [];
    let wake: () => void = () => undefined;
    const received = (stream: TransferStream, one: Frame) => {
      stream.pause();
      frames.push(one);
      wake();
    };
    this.#run(peer, request, received, async (stream, ended) => {
      try {
        for (;;) {
          const next = frames.shift();
          if (next === undefined) {
            ended.throwIfAborted();
            await new Promise<void>((resolve) => {
              wake = resolve;
              ended.addEventListener('abort', () => resolve(), { once: true });
            });
          } else if (await take(stream, next)) {
            return;
          } else {
            stream.resume();
          }
        }
      } finally {
        await finish();
      }
    });
  }

  #run(
    peer: TaskPeer,
    { transferId }: OpenTransfer,
    received: (stream: TransferStream, frame: Frame) => void,
    work: (stream: TransferStream, ended: AbortSignal) => Promise<void>,
  ): void {
    const { log, hello } = this.#options;
    const ended = new AbortController();
    const events: TransferEvents = {
      received: ({ frame: one }) => {
        if (one !== undefined) received(stream, one);
      },
      closed: (problem) => ended.abort(new Error(problem ?? 'the pod has ended the transfer')),
    };
    const stream = peer.dial(hello(transferId), events);
    this.#open += 1;
    work(stream, ended.signal)
      .catch((error: unknown) => log.debug({ because: messageOf(error) }, 'A transfer has ended early'))
      .finally(() => {
        this.#open -= 1;
        stream.end();
      });
  }
}

function ignoreFrames(): void {
  // The pod has nothing to say on these.
}

interface OpenedOutput {
  readonly file: FileHandle;
  readonly channel: Channel;
  offset: number;
}

/** What there is from its offset on. */
async function sendAll(stream: TransferStream, one: OpenedOutput, ended: AbortSignal): Promise<void> {
  while (await sendSome(stream, one)) ended.throwIfAborted();
}

async function sendSome(stream: TransferStream, one: OpenedOutput): Promise<boolean> {
  const buffer = Buffer.allocUnsafe(frameBytes);
  const { bytesRead } = await one.file.read(buffer, 0, frameBytes, one.offset);
  if (bytesRead === 0) return false;
  await stream.send(frame({ channel: one.channel, offset: one.offset, data: buffer.subarray(0, bytesRead), last: false }));
  one.offset += bytesRead;
  return true;
}

function frame(value: Frame) {
  return { message: { $case: 'frame' as const, value } };
}
