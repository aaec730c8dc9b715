import type { Clock, Timer } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { RecordFile } from '../journal/record-file.client.ts';
import { Channel, TransferKind, type OpenTransfer, type TaskReply, type TransferHello } from '../proto/gen/berth/agent/v1/tasks.ts';
import type { TaskFiles } from './files.client.ts';
import type { TaskPeer } from './peer.ts';
import type { TaskJournalState, TaskRecord } from './record.ts';
import { done, rejected } from './replies.ts';
import { isID, type Refused } from './request.ts';
import type { TaskRun } from './task-run.client.ts';
import { Transfers } from './transfers.client.ts';

export interface BulkDataOptions {
  readonly journal: Pick<RecordFile<TaskJournalState, TaskRecord>, 'isFull' | 'state'>;
  readonly files: TaskFiles;
  readonly clock: Clock;
  readonly log: Logger;
  readonly identity: { readonly runnerName: string; readonly storeID: string; readonly incarnation: number };
  /** The task that has not ended, or why there is none. */
  readonly liveTask: (taskID: string) => { readonly run: TaskRun } | Refused;
}

const uploadKeptMs = 300_000;
const largestUpload = 256 * 2 ** 20;
const mostUploads = 256;
const mostTransfers = 256;

/** What is too large for the stream of control messages: inputs that come before their task, stdin, output and files. */
export class BulkData {
  readonly #options: BulkDataOptions;
  readonly #transfers: Transfers;
  readonly #uploads = new Map<string, { isWhole: boolean; timer: Timer }>();

  constructor(options: BulkDataOptions) {
    this.#options = options;
    const { clock, log, identity } = options;
    const { runnerName, storeID: storeId, incarnation } = identity;
    const hello = (transferId: string): TransferHello => ({ transferId, runnerName, storeId, incarnation });
    this.#transfers = new Transfers({ clock, log, hello });
  }

  stop(): void {
    for (const { timer } of this.#uploads.values()) timer.cancel();
  }

  /** Whether all of it came, and no task has taken it. */
  hasUpload(id: string): boolean {
    return this.#uploads.get(id)?.isWhole === true;
  }

  /** A task has taken it, or it broke off. */
  forgetUpload(id: string): void {
    this.#uploads.get(id)?.timer.cancel();
    this.#uploads.delete(id);
  }

  open(peer: TaskPeer, request: OpenTransfer): TaskReply['reply'] {
    if (!isID(request.transferId)) return rejected('InvalidTask');
    if (this.#transfers.open >= mostTransfers) return rejected('TransferUnavailable');
    switch (request.kind) {
      case TransferKind.TRANSFER_KIND_UPLOAD:
        return this.#upload(peer, request);
      case TransferKind.TRANSFER_KIND_STDIN:
        return this.#feed(peer, request);
      case TransferKind.TRANSFER_KIND_OUTPUT:
        return this.#sendOutput(peer, request);
      case TransferKind.TRANSFER_KIND_FILE:
        return this.#sendFile(peer, request);
      default:
        return rejected('InvalidTask');
    }
  }

  #upload(peer: TaskPeer, request: OpenTransfer): TaskReply['reply'] {
    const { files, clock, journal } = this.#options;
    const id = request.uploadId;
    if (!isID(id) || this.#uploads.has(id)) return rejected('InvalidTask');
    if (this.#uploads.size >= mostUploads) return rejected('TransferUnavailable');
    if (journal.isFull()) return rejected('DiskFull');
    const upload = { isWhole: false, timer: clock.after(uploadKeptMs, () => this.#dropUpload(id)) };
    this.#uploads.set(id, upload);
    this.#transfers.upload(peer, request, files.upload(id), largestUpload, (isWhole) => {
      upload.isWhole = isWhole;
      if (!isWhole) this.forgetUpload(id);
    });
    return done;
  }

  #dropUpload(id: string): void {
    this.forgetUpload(id);
    this.#options.files.dropUpload(id).catch(() => undefined);
  }

  #feed(peer: TaskPeer, request: OpenTransfer): TaskReply['reply'] {
    const live = this.#options.liveTask(request.taskId);
    if ('code' in live) return rejected(live);
    if (live.run.startMs === 0) return rejected('TaskNotStarted');
    const { stdin } = live.run;
    if (stdin?.take() !== true) return rejected('TransferUnavailable');
    this.#transfers.feed(peer, request, stdin);
    return done;
  }

  #sendOutput(peer: TaskPeer, request: OpenTransfer): TaskReply['reply'] {
    const { journal, files } = this.#options;
    const { taskId, stdoutOffset, stderrOffset, follow } = request;
    if (!journal.state().tasks.has(taskId)) return rejected('TaskGone');
    const own = files.of(taskId);
    this.#transfers.send(peer, request, {
      files: [
        { channel: Channel.CHANNEL_STDOUT, path: own.stream('stdout'), offset: Math.max(0, stdoutOffset) },
        { channel: Channel.CHANNEL_STDERR, path: own.stream('stderr'), offset: Math.max(0, stderrOffset) },
      ],
      follow,
      hasEnded: () => journal.state().tasks.get(taskId)?.result !== undefined || !journal.state().tasks.has(taskId),
    });
    return done;
  }

  #sendFile(peer: TaskPeer, request: OpenTransfer): TaskReply['reply'] {
    const { journal, files } = this.#options;
    const entry = journal.state().tasks.get(request.taskId);
    const index = entry?.task.outputFiles.indexOf(request.path) ?? -1;
    if (entry === undefined || entry.result?.files[index]?.problem !== '') return rejected('TaskGone');
    const path = files.of(request.taskId).output(index);
    this.#transfers.send(peer, request, {
      files: [{ channel: Channel.CHANNEL_FILE, path, offset: Math.max(0, request.stdoutOffset) }],
      follow: false,
      hasEnded: () => true,
    });
    return done;
  }
}
