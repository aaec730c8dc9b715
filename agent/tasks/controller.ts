import { randomUUID } from 'node:crypto';
import type { Clock, Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { failpoint } from '../failpoints.ts';
import type { RecordFile } from '../journal/record-file.client.ts';
import { CopyState, type CopyReport } from '../proto/gen/berth/agent/v1/agent.ts';
import {
  Channel,
  TransferKind,
  type OpenTransfer,
  type Reservation as ReservationMessage,
  type SubmitTask,
  type TaskCapacity,
  type TaskReply,
  type TaskRequest,
  type TaskSpec,
  type TaskState,
  type Ticket as TicketMessage,
} from '../proto/gen/berth/agent/v1/tasks.ts';
import type { CopyController, ReportSink } from '../copies/controller.ts';
import { taskRejections, type TaskRejectionCode } from './codes.ts';
import type { TaskFiles } from './files.client.ts';
import { mostInlineOutput, stateMessage, type InlineOutput } from './messages.ts';
import type { TaskLink, TaskPeer, TaskService } from './peer.ts';
import type { TaskEntry, TaskFacts, TaskJournalState, TaskPlace, TaskRecord, TaskResult } from './record.ts';
import { decideRecovery } from './recovery.ts';
import { overdue, taskOfKey, taskUnder } from './reduce.ts';
import { isID, isRefused, readSubmission, type Refused, type Submission } from './request.ts';
import type { TaskRuntime } from './runtime.ts';
import {
  countsOf,
  emptyBook,
  nextLook,
  slotStep,
  type Reservation,
  type SlotBook,
  type SlotChange,
  type SlotNews,
  type SlotStep,
} from './slots.ts';
import { refOf, TaskRun, type TaskBegin } from './task-run.client.ts';
import { Transfers } from './transfers.client.ts';
import { lost } from './verdict.ts';

export interface TaskControllerOptions {
  readonly journal: Pick<RecordFile<TaskJournalState, TaskRecord>, 'append' | 'isFull' | 'note' | 'state'>;
  readonly files: TaskFiles;
  readonly runtime: TaskRuntime;
  readonly copies: Pick<CopyController, 'inventory' | 'attach'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly identity: { readonly runnerName: string; readonly storeID: string; readonly incarnation: number; readonly bootID: string };
  /** Told of every change of what there is of slots, before anybody is told of what it comes from. */
  readonly onCapacity: (capacity: TaskCapacity) => void;
  /** Nothing may be done any more (the journal failed): the process must end. */
  readonly onFailed: (error: unknown) => void;
}

const longestTtlMs = 600_000;
const longestWaitMs = 600_000;
const sweepMs = 30_000;
const uploadKeptMs = 300_000;
const largestUpload = 256 * 2 ** 20;
const mostUploads = 256;
const mostTransfers = 256;

/** One task that has not ended, and who is told of it. */
interface Live {
  readonly run: TaskRun;
  /** Resolves when its acceptance is durable. */
  readonly durable: Promise<void>;
}

/** The tasks of a runner: the authority on its slots. Takes requests from any pod, keeps them durably, and runs each once. */
export class TaskController implements TaskService {
  readonly #options: TaskControllerOptions;
  readonly #transfers: Transfers;
  readonly #live = new Map<string, Live>();
  /** Tasks whose files are being made: claimed, and not in the journal yet. */
  readonly #claimed = new Map<string, TaskEntry>();
  readonly #watchers = new Map<string, Set<Link>>();
  readonly #links = new Map<string, Link>();
  readonly #uploads = new Map<string, { isWhole: boolean; timer: Timer }>();
  readonly #ended = new AbortController();
  #book: SlotBook = emptyBook;
  #capacity: TaskCapacity = { slots: 0, used: 0, reserved: 0, queued: 0, seq: 0 };
  #shareCpuMillis = 0;
  #look: Timer | undefined;
  #sweep: Timer | undefined;
  #count = 0;

  constructor(options: TaskControllerOptions) {
    this.#options = options;
    const { clock, log, identity } = options;
    const { runnerName, storeID: storeId, incarnation } = identity;
    this.#transfers = new Transfers({ clock, log, hello: (transferId) => ({ transferId, runnerName, storeId, incarnation }) });
  }

  /** Goes on with what an agent before this one had accepted. Requests may come once it has resolved. */
  async start(): Promise<void> {
    const { journal, files, clock, copies } = this.#options;
    await files.prepare();
    await files.forgetUploads();
    const { tasks, reservations } = journal.state();
    const open = [...tasks.values()].filter(({ result }) => result === undefined);
    const now = clock.monotonic();
    this.#change({
      kind: 'Restore',
      tasks: open.map(({ task }) => task.id),
      reservations: [...reservations.values()].map(({ id, caller, ticketID, untilMs }) => ({
        ...{ id, caller, ticketID },
        until: now + untilMs - clock.now(),
      })),
    });
    for (const entry of open) await this.#recover(entry);
    for (const { task, result } of tasks.values()) {
      // Its result was durable before its process was removed.
      const isLeft = result !== undefined && task.place.kind === 'Sandbox' && files.of(task.id).notedExit() !== undefined;
      if (isLeft) void this.#clear(task, this.#options.runtime.remove(refOf(task)));
    }
    await this.#removeLeftovers();
    const sink: ReportSink = { copyChanged: (report) => this.#copyChanged(report), runnerChanged: ignore, relisted: ignore };
    const detach = copies.attach(sink);
    this.#ended.signal.addEventListener('abort', detach, { once: true });
    this.#sweepLater();
  }

  /** Does nothing more. What runs goes on. */
  stop(): void {
    this.#ended.abort(new Error('the agent ends'));
    this.#look?.cancel();
    this.#sweep?.cancel();
    for (const { timer } of this.#uploads.values()) timer.cancel();
  }

  capacity(): TaskCapacity {
    return this.#capacity;
  }

  /** So many slots from now on, and what each is given of the processor when there is not enough for all. */
  setSlots(slots: number, shareCpuMillis: number): void {
    this.#shareCpuMillis = shareCpuMillis;
    if (slots !== this.#book.slots) this.#change({ kind: 'Resize', slots });
  }

  connect(peer: TaskPeer): TaskLink {
    const link = new Link(`link-${++this.#count}`, peer);
    this.#links.set(link.name, link);
    return {
      request: (request) => void this.#answer(link, request),
      close: () => {
        this.#links.delete(link.name);
        for (const watchers of this.#watchers.values()) watchers.delete(link);
        this.#change({ kind: 'LinkEnded', link: link.name });
      },
    };
  }

  async #answer(link: Link, { requestId, request }: TaskRequest): Promise<void> {
    if (request === undefined) return;
    const reply = await this.#dealWith(link, request).catch((error: unknown): TaskReply['reply'] => {
      this.#options.log.warn({ request: request.$case, err: error }, 'A request about a task failed');
      return rejected({ code: 'AgentEnding', message: 'The agent could not do it: ask again.' });
    });
    if (!this.#ended.signal.aborted) link.peer.reply({ requestId, reply });
  }

  async #dealWith(link: Link, request: NonNullable<TaskRequest['request']>): Promise<TaskReply['reply']> {
    if (this.#ended.signal.aborted) return rejected('AgentEnding');
    switch (request.$case) {
      case 'ticket':
        return this.#ticket(link, request.value);
      case 'take':
        return this.#take(request.value.ticketId);
      case 'withdraw':
        this.#change({ kind: 'Withdraw', ticketID: request.value.ticketId });
        return done;
      case 'getReservation':
        return this.#reservationReply(request.value.reservationId);
      case 'extend':
        return this.#extend(request.value.reservationId, request.value.ttlMs);
      case 'release':
        return this.#release(request.value.reservationId);
      case 'submit':
        return this.#submit(link, request.value);
      case 'watch':
        return this.#watch(link, request.value.taskId);
      case 'signal':
        return this.#signal(request.value.taskId, request.value.signal);
      case 'cancel':
        return this.#cancel(request.value.taskId);
      case 'openTransfer':
        return this.#openTransfer(link, request.value);
    }
  }

  #ticket(link: Link, { ticketId, caller, ageMs, waitMs, sole, ttlMs }: TicketMessage): TaskReply['reply'] {
    if (ticketId === '' || caller === '') return rejected('InvalidTask');
    const { clock, identity } = this.#options;
    const now = clock.monotonic();
    const { refused } = this.#change({
      kind: 'Ticket',
      ticket: {
        ...{ id: ticketId, caller, link: link.name, isSole: sole },
        since: now - Math.max(0, ageMs),
        until: now + between(0, waitMs, longestWaitMs),
        reservationID: `${randomUUID()}.${identity.storeID}.${identity.runnerName}`,
        ttlMs: between(1_000, ttlMs, longestTtlMs),
      },
    });
    if (refused !== undefined) return rejected(refused);
    const given = this.#book.reservations.find((one) => one.ticketID === ticketId);
    if (given !== undefined) return { $case: 'reservation', value: this.#reservationMessage(given) };
    return { $case: 'queued', value: { queued: this.#book.tickets.length } };
  }

  #take(ticketID: string): TaskReply['reply'] {
    const { refused } = this.#change({ kind: 'Take', ticketID });
    const given = this.#book.reservations.find((one) => one.ticketID === ticketID);
    if (refused !== undefined || given === undefined) return rejected(refused ?? 'OfferExpired');
    return { $case: 'reservation', value: this.#reservationMessage(given) };
  }

  #extend(reservationID: string, ttlMs: number): TaskReply['reply'] {
    const until = this.#options.clock.monotonic() + between(0, ttlMs, longestTtlMs);
    const { refused } = this.#change({ kind: 'Extend', reservationID, until });
    const extended = this.#book.reservations.find(({ id }) => id === reservationID);
    if (extended !== undefined) this.#record(reservedRecord(extended, this.#options.clock));
    return refused === undefined ? this.#reservationReply(reservationID) : (this.#usedReservation(reservationID) ?? rejected(refused));
  }

  #release(reservationID: string): TaskReply['reply'] {
    const before = this.#reservationReply(reservationID);
    this.#change({ kind: 'Release', reservationID });
    return before;
  }

  #reservationReply(reservationID: string): TaskReply['reply'] {
    this.#change({ kind: 'Look' });
    const held = this.#book.reservations.find(({ id }) => id === reservationID);
    if (held !== undefined) return { $case: 'reservation', value: this.#reservationMessage(held) };
    return this.#usedReservation(reservationID) ?? rejected('ReservationGone');
  }

  /** One that has become a task's. */
  #usedReservation(reservationId: string): TaskReply['reply'] {
    const task = this.#taskUnder(reservationId)?.task;
    if (task === undefined) return undefined;
    return { $case: 'reservation', value: { reservationId, caller: task.caller, expiresInMs: 0, taskId: task.id } };
  }

  #reservationMessage({ id, caller, until }: Reservation): ReservationMessage {
    const expiresInMs = Math.max(1, Math.round(until - this.#options.clock.monotonic()));
    return { reservationId: id, caller, expiresInMs, taskId: '' };
  }

  async #submit(link: Link, message: SubmitTask): Promise<TaskReply['reply']> {
    const { identity, journal, files, clock } = this.#options;
    if (message.storeId !== identity.storeID) return rejected('StoreMismatch');
    const submission = readSubmission(message);
    if (isRefused(submission)) return rejected(submission);
    const before = this.#earlier(submission);
    if (before !== undefined) return await this.#again(link, submission, before);
    const place = this.#placeOf(submission);
    if ('code' in place) return rejected(place);
    if (journal.isFull()) return rejected('DiskFull');
    if (!submission.uploads.every((id) => this.#uploads.get(id)?.isWhole === true)) return rejected('UploadGone');
    const task: TaskFacts = { ...submission.task, place, acceptedMs: Math.round(clock.now()) };
    const reservationID = task.reservationID === '' ? undefined : task.reservationID;
    const { refused } = this.#change({ kind: 'Occupy', taskID: task.id, reservationID });
    if (refused !== undefined) return rejected(refused);
    for (const id of submission.uploads) this.#forgetUpload(id);
    const durable = this.#accept(task, message, files);
    this.#watchers.set(task.id, new Set([link]));
    try {
      await durable;
    } catch (error) {
      if (journal.state().tasks.has(task.id)) throw error;
      this.#options.log.warn({ task: task.id, err: error }, 'The files of a task could not be made');
      return rejected('DiskFull');
    }
    return await this.#stateReply(task.id, false);
  }

  /** The task that this submission is, or that has its key or its reservation. */
  #earlier({ task: { id, keyHash, reservationID } }: Submission): TaskEntry | undefined {
    return this.#entry(id) ?? this.#taskUnder(reservationID) ?? this.#taskOfKey(keyHash);
  }

  #entry(id: string): TaskEntry | undefined {
    return this.#options.journal.state().tasks.get(id) ?? this.#claimed.get(id);
  }

  #taskUnder(reservationID: string): TaskEntry | undefined {
    if (reservationID === '') return undefined;
    const claimed = () => [...this.#claimed.values()].find(({ task }) => task.reservationID === reservationID);
    return taskUnder(this.#options.journal.state(), reservationID) ?? claimed();
  }

  #taskOfKey(keyHash: string): TaskEntry | undefined {
    if (keyHash === '') return undefined;
    const claimed = () => [...this.#claimed.values()].find(({ task }) => task.keyHash === keyHash);
    return taskOfKey(this.#options.journal.state(), keyHash) ?? claimed();
  }

  async #again(link: Link, { task }: Submission, { task: before }: TaskEntry): Promise<TaskReply['reply']> {
    if (before.bodyHash !== task.bodyHash || before.caller !== task.caller) {
      const isKey = before.keyHash !== '' && before.keyHash === task.keyHash;
      return rejected(isKey || task.reservationID === '' ? 'IdempotencyConflict' : 'ReservationUsed', before.id);
    }
    await this.#live.get(before.id)?.durable;
    this.#watchersOf(before.id).add(link);
    return this.#stateReply(before.id, true);
  }

  #placeOf({ sandbox }: Submission): TaskPlace | Refused {
    if (sandbox === undefined) return { kind: 'OneShot' };
    const runs = this.#options.copies
      .inventory()
      .copies.find(({ uid, state }) => uid === sandbox.uid && state === CopyState.COPY_STATE_RUNNING);
    if (runs === undefined) return refusal('SandboxNotRunning');
    if (sandbox.contentVersion !== 0 && sandbox.contentVersion !== runs.contentVersion) return refusal('SandboxChanged');
    return { kind: 'Sandbox', uid: sandbox.uid, epoch: runs.epoch, contentVersion: runs.contentVersion };
  }

  /** From here on the task is there: its files first, then its record, then its process. Rejects when it could not be recorded: it never was. */
  async #accept(task: TaskFacts, { spec, credentials }: SubmitTask, files: TaskFiles): Promise<void> {
    const { journal, clock, identity } = this.#options;
    const started: TaskRecord = { kind: 'Started', id: task.id, bootID: identity.bootID, timeMs: Math.round(clock.now()) };
    const own = files.of(task.id);
    let recorded: Promise<void> | undefined;
    const made = (async () => {
      if (spec !== undefined) await own.create(spec, (id) => files.upload(id));
    })();
    const durable = made.then(() => {
      // A process in a sandbox is made and started at once.
      recorded = journal.append([{ kind: 'Accepted', task }, ...(task.place.kind === 'Sandbox' ? [started] : [])]);
      return recorded;
    });
    durable.catch(() => undefined);
    const run = this.#run(task, durable, credentials, spec);
    this.#live.set(task.id, { run, durable });
    this.#claimed.set(task.id, { task, started: undefined, result: undefined });
    try {
      await made;
      // What waits for the record is made meanwhile.
      void this.#finishWhenEnded(task, run, 'Begin', 0);
      await durable;
    } catch (error) {
      if (recorded === undefined) this.#never(task);
      else this.#fail(error);
      throw error;
    } finally {
      this.#claimed.delete(task.id);
    }
  }

  /** `spec`: what is to be run, if it is known; else it is read from its file. */
  #run(task: TaskFacts, durable: Promise<void>, credentials: SubmitTask['credentials'], spec?: TaskSpec): TaskRun {
    const { files, runtime, clock, log, journal, identity } = this.#options;
    return new TaskRun({
      ...{ task, runtime, clock, log, credentials, spec },
      files: files.of(task.id),
      shareCpuMillis: () => this.#shareCpuMillis,
      recordStart: async () => {
        await durable;
        if (task.place.kind === 'Sandbox' && journal.state().tasks.get(task.id)?.started !== undefined) return;
        await journal.append([{ kind: 'Started', id: task.id, bootID: identity.bootID, timeMs: Math.round(clock.now()) }]);
      },
      onStarted: () => void this.#tell(task.id),
      agentEnds: this.#ended.signal,
    });
  }

  /** Nothing was recorded and nothing ran. */
  #never(task: TaskFacts): void {
    this.#live.delete(task.id);
    this.#watchers.delete(task.id);
    this.#change({ kind: 'Free', taskID: task.id });
    this.#options.files
      .of(task.id)
      .remove()
      .catch(() => undefined);
  }

  async #finishWhenEnded(task: TaskFacts, run: TaskRun, begin: TaskBegin, startedMs: number): Promise<void> {
    try {
      const result = await run.run(begin, startedMs);
      if (result !== undefined) await this.#finish(task, run, result);
    } catch (error) {
      this.#fail(error);
    }
  }

  async #finish(task: TaskFacts, run: TaskRun, result: TaskResult): Promise<void> {
    const { journal, log } = this.#options;
    await this.#live.get(task.id)?.durable;
    await journal.append([{ kind: 'Ended', id: task.id, result }]);
    FAILPOINT: failpoint('command.ended');
    const { outcome, exitCode, limit, reason } = result;
    log.info({ task: task.id, caller: task.caller, outcome, exitCode, limit, reason }, 'A task has ended');
    this.#live.delete(task.id);
    this.#change({ kind: 'Free', taskID: task.id });
    await this.#tell(task.id);
    await this.#clear(task, run.removed);
  }

  /** What only the task needed. What can not be removed now is found by the next look at what is left. */
  async #clear(task: TaskFacts, removed: Promise<void>): Promise<void> {
    const { runtime, log, files } = this.#options;
    try {
      await removed;
      if (task.place.kind === 'OneShot') await runtime.removeOneShot(task.id);
      await files.of(task.id).forgetInputs();
    } catch (error) {
      log.warn({ task: task.id, said: messageOf(error) }, 'What is left of a task could not be removed yet');
    }
  }

  async #recover(entry: TaskEntry): Promise<void> {
    const { runtime, files, identity, clock, log } = this.#options;
    const { task, started } = entry;
    const own = files.of(task.id);
    const ref = refOf(task);
    const [state, spec, sandbox] = await Promise.all([
      runtime.stateOf(ref),
      own.spec(),
      task.place.kind === 'Sandbox' ? runtime.sandbox(ref.containerID) : 'Gone',
    ]);
    const hasSandbox = sandbox !== 'Gone' && this.#isStill(task.place);
    const remains = { process: state.kind, hasSandbox, hasExit: own.notedExit() !== undefined, hasSpec: spec !== undefined };
    const recovery = decideRecovery(entry, { ...remains, bootID: identity.bootID });
    log.info({ task: task.id, ...remains, recovery: recovery.kind }, 'A task is taken over from the agent before this one');
    const run = this.#run(task, Promise.resolve(), []);
    this.#live.set(task.id, { run, durable: Promise.resolve() });
    if (recovery.kind === 'Done') return;
    if (recovery.kind !== 'Lost') {
      void this.#finishWhenEnded(task, run, recovery.kind, started?.timeMs ?? 0);
      if (entry.isCancelled === true) void this.#cancelAgain(task, run);
      return;
    }
    const [stdoutBytes, stderrBytes] = await Promise.all([own.size('stdout'), own.size('stderr')]);
    await this.#finish(task, run, {
      ...lost(recovery.reason, recovery.mayHaveRun),
      ...{ startMs: started?.timeMs ?? 0, finishMs: Math.round(clock.now()), stdoutBytes, stderrBytes, truncated: false, files: [] },
      usage: { cpuTimeUs: 0, memoryPeakBytes: 0, wallTimeUs: 0 },
    });
  }

  /** Whether the sandbox runs under the very contentVersion that the task was for. */
  #isStill(place: TaskPlace): boolean {
    if (place.kind !== 'Sandbox') return false;
    const { copies } = this.#options.copies.inventory();
    return copies.some(
      ({ uid, epoch, contentVersion }) => uid === place.uid && epoch === place.epoch && contentVersion === place.contentVersion,
    );
  }

  async #watch(link: Link, taskID: string): Promise<TaskReply['reply']> {
    if (this.#options.journal.state().tasks.has(taskID)) this.#watchersOf(taskID).add(link);
    return this.#stateReply(taskID, false);
  }

  async #signal(taskID: string, signal: number): Promise<TaskReply['reply']> {
    if (!(signal >= 1 && signal <= 64)) return rejected('InvalidTask');
    const live = this.#liveTask(taskID);
    if ('code' in live) return rejected(live);
    if (live.run.startMs === 0) return rejected('TaskNotStarted');
    await live.run.signal(signal);
    return this.#stateReply(taskID, false);
  }

  async #cancel(taskID: string): Promise<TaskReply['reply']> {
    const live = this.#liveTask(taskID);
    if ('code' in live) return live.code === 'TaskEnded' ? this.#stateReply(taskID, false) : rejected(live);
    await live.durable;
    // Who is told that it is being cancelled need not ask again, whatever becomes of this agent.
    await this.#options.journal.append([{ kind: 'Cancelled', id: taskID }]);
    await live.run.cancel();
    return this.#stateReply(taskID, false);
  }

  /** An agent before this one was asked to, and may not have come to it. */
  async #cancelAgain(task: TaskFacts, run: TaskRun): Promise<void> {
    try {
      await run.cancel();
    } catch (error) {
      this.#options.log.warn({ task: task.id, said: messageOf(error) }, 'A task could not be cancelled');
    }
  }

  #liveTask(taskID: string): Live | Refused {
    const live = this.#live.get(taskID);
    return live ?? refusal(this.#options.journal.state().tasks.has(taskID) ? 'TaskEnded' : 'TaskGone');
  }

  #openTransfer(link: Link, request: OpenTransfer): TaskReply['reply'] {
    if (!isID(request.transferId)) return rejected('InvalidTask');
    if (this.#transfers.open >= mostTransfers) return rejected('TransferUnavailable');
    switch (request.kind) {
      case TransferKind.TRANSFER_KIND_UPLOAD:
        return this.#upload(link, request);
      case TransferKind.TRANSFER_KIND_STDIN:
        return this.#feed(link, request);
      case TransferKind.TRANSFER_KIND_OUTPUT:
        return this.#sendOutput(link, request);
      case TransferKind.TRANSFER_KIND_FILE:
        return this.#sendFile(link, request);
      default:
        return rejected('InvalidTask');
    }
  }

  #upload(link: Link, request: OpenTransfer): TaskReply['reply'] {
    const { files, clock, journal } = this.#options;
    const id = request.uploadId;
    if (!isID(id) || this.#uploads.has(id)) return rejected('InvalidTask');
    if (this.#uploads.size >= mostUploads) return rejected('TransferUnavailable');
    if (journal.isFull()) return rejected('DiskFull');
    const upload = { isWhole: false, timer: clock.after(uploadKeptMs, () => this.#dropUpload(id)) };
    this.#uploads.set(id, upload);
    this.#transfers.upload(link.peer, request, files.upload(id), largestUpload, (isWhole) => {
      upload.isWhole = isWhole;
      if (!isWhole) this.#forgetUpload(id);
    });
    return done;
  }

  #forgetUpload(id: string): void {
    this.#uploads.get(id)?.timer.cancel();
    this.#uploads.delete(id);
  }

  #dropUpload(id: string): void {
    this.#forgetUpload(id);
    this.#options.files.dropUpload(id).catch(() => undefined);
  }

  #feed(link: Link, request: OpenTransfer): TaskReply['reply'] {
    const live = this.#liveTask(request.taskId);
    if ('code' in live) return rejected(live);
    if (live.run.startMs === 0) return rejected('TaskNotStarted');
    const { stdin } = live.run;
    if (stdin?.take() !== true) return rejected('TransferUnavailable');
    this.#transfers.feed(link.peer, request, stdin);
    return done;
  }

  #sendOutput(link: Link, request: OpenTransfer): TaskReply['reply'] {
    const { journal, files } = this.#options;
    const { taskId, stdoutOffset, stderrOffset, follow } = request;
    if (!journal.state().tasks.has(taskId)) return rejected('TaskGone');
    const own = files.of(taskId);
    this.#transfers.send(link.peer, request, {
      files: [
        { channel: Channel.CHANNEL_STDOUT, path: own.stream('stdout'), offset: Math.max(0, stdoutOffset) },
        { channel: Channel.CHANNEL_STDERR, path: own.stream('stderr'), offset: Math.max(0, stderrOffset) },
      ],
      follow,
      hasEnded: () => journal.state().tasks.get(taskId)?.result !== undefined || !journal.state().tasks.has(taskId),
    });
    return done;
  }

  #sendFile(link: Link, request: OpenTransfer): TaskReply['reply'] {
    const { journal, files } = this.#options;
    const entry = journal.state().tasks.get(request.taskId);
    const index = entry?.task.outputFiles.indexOf(request.path) ?? -1;
    if (entry === undefined || entry.result?.files[index]?.problem !== '') return rejected('TaskGone');
    const path = files.of(request.taskId).output(index);
    this.#transfers.send(link.peer, request, {
      files: [{ channel: Channel.CHANNEL_FILE, path, offset: Math.max(0, request.stdoutOffset) }],
      follow: false,
      hasEnded: () => true,
    });
    return done;
  }

  #watchersOf(taskID: string): Set<Link> {
    const known = this.#watchers.get(taskID) ?? new Set();
    this.#watchers.set(taskID, known);
    return known;
  }

  async #tell(taskID: string): Promise<void> {
    const state = await this.#state(taskID);
    if (state === undefined) return;
    for (const { peer } of this.#watchers.get(taskID) ?? []) peer.event({ event: { $case: 'task', value: state } });
    if (state.end !== undefined) this.#watchers.delete(taskID);
  }

  async #stateReply(taskID: string, repeated: boolean): Promise<TaskReply['reply']> {
    const state = await this.#state(taskID);
    return state === undefined ? rejected('TaskGone') : { $case: 'task', value: { ...state, repeated } };
  }

  async #state(taskID: string): Promise<TaskState | undefined> {
    const { journal, clock } = this.#options;
    const entry = journal.state().tasks.get(taskID);
    if (entry === undefined) return undefined;
    const run = this.#live.get(taskID)?.run;
    // A result that is not durable yet is nobody's.
    const told = run === undefined ? entry : { ...entry, result: undefined };
    const { stdout, stderr } = run?.outputBytes ?? { stdout: 0, stderr: 0 };
    const progress = { startMs: run?.startMs ?? 0, stdoutBytes: stdout, stderrBytes: stderr };
    return stateMessage(told, progress, await this.#inline(told), clock.now());
  }

  async #inline({ task, result }: TaskEntry): Promise<InlineOutput> {
    if (result === undefined || result.stdoutBytes + result.stderrBytes > mostInlineOutput) return undefined;
    const own = this.#options.files.of(task.id);
    const [stdout, stderr] = await Promise.all([own.read('stdout'), own.read('stderr')]);
    return { stdout, stderr };
  }

  #copyChanged({ uid, epoch, state }: CopyReport): void {
    if (state === CopyState.COPY_STATE_RUNNING) return;
    for (const [id, { run }] of this.#live) {
      const place = this.#options.journal.state().tasks.get(id)?.task.place;
      if (place?.kind === 'Sandbox' && place.uid === uid && place.epoch === epoch) run.sandboxStops();
    }
  }

  /** One change of the book, recorded and told. */
  #change(change: SlotChange): SlotStep {
    const { clock } = this.#options;
    const step = slotStep(this.#book, change, clock.monotonic());
    this.#book = step.book;
    this.#tellCapacity();
    for (const news of step.news) this.#deliver(news);
    this.#look?.cancel();
    const next = nextLook(this.#book);
    this.#look =
      next === undefined || this.#ended.signal.aborted
        ? undefined
        : clock.after(next - clock.monotonic(), () => this.#change({ kind: 'Look' }));
    return step;
  }

  #tellCapacity(): void {
    const counts = countsOf(this.#book);
    const { seq, ...before } = this.#capacity;
    const isSame = (Object.keys(counts) as (keyof typeof counts)[]).every((key) => counts[key] === before[key]);
    if (isSame) return;
    this.#capacity = { ...counts, seq: seq + 1 };
    this.#options.onCapacity(this.#capacity);
  }

  #deliver(news: SlotNews): void {
    const { clock } = this.#options;
    switch (news.kind) {
      case 'Offered': {
        const { ticket, until } = news.offer;
        const offer = { ticketId: ticket.id, validMs: Math.round(until - clock.monotonic()) };
        this.#links.get(ticket.link)?.peer.event({ event: { $case: 'offer', value: offer } });
        return;
      }
      case 'Reserved':
        this.#record(reservedRecord(news.reservation, clock));
        return;
      case 'TicketExpired':
        this.#links.get(news.ticket.link)?.peer.event({ event: { $case: 'ticketExpired', value: { ticketId: news.ticket.id } } });
        return;
      case 'ReservationEnded':
        this.#record({ kind: 'Unreserved', id: news.reservation.id });
    }
  }

  /** Nobody waits for it: what a crash forgets of it is safe to forget. */
  #record(record: TaskRecord): void {
    if (this.#ended.signal.aborted) return;
    this.#options.journal.note([record]).catch((error: unknown) => this.#fail(error));
  }

  #sweepLater(): void {
    const { clock, log } = this.#options;
    this.#sweep = clock.after(sweepMs, () => {
      this.#removeLeftovers()
        .catch((error: unknown) => log.warn({ said: messageOf(error) }, 'It could not be looked what is left of tasks'))
        .finally(() => {
          if (!this.#ended.signal.aborted) this.#sweepLater();
        });
    });
  }

  /** Results that were kept long enough, and whatever nobody needs: of tasks that have ended, and of what was never accepted. */
  async #removeLeftovers(): Promise<void> {
    const { journal, runtime, files, clock } = this.#options;
    const over = overdue(journal.state(), clock.now());
    if (over.length > 0) await journal.append([{ kind: 'Forgotten', ids: over }]);
    const isOpen = (id: string) => this.#live.has(id);
    for (const id of await runtime.oneShots()) if (!isOpen(id)) await runtime.removeOneShot(id);
    for (const id of await files.list()) if (!isOpen(id) && !journal.state().tasks.has(id)) await files.of(id).remove();
  }

  #fail(error: unknown): void {
    if (this.#ended.signal.aborted) return;
    this.stop();
    this.#options.onFailed(error);
  }
}

/** One stream to a pod. */
class Link {
  readonly name: string;
  readonly peer: TaskPeer;

  constructor(name: string, peer: TaskPeer) {
    this.name = name;
    this.peer = peer;
  }
}

const done: TaskReply['reply'] = { $case: 'done', value: {} };
const retryAfterMs: Partial<Record<TaskRejectionCode, number>> = {
  ...{ NoSlot: 1_000, QueueFull: 5_000, AgentEnding: 2_000, DiskFull: 30_000, SandboxPaused: 1_000, TransferUnavailable: 1_000 },
};

function refusal(code: TaskRejectionCode): Refused {
  return { code, message: taskRejections[code] };
}

function rejected(why: TaskRejectionCode | Refused, taskId = ''): TaskReply['reply'] {
  const { code, message } = typeof why === 'string' ? refusal(why) : why;
  return { $case: 'rejected', value: { code, message, retryAfterMs: retryAfterMs[code] ?? 0, taskId } };
}

function reservedRecord({ id, caller, ticketID, until }: Reservation, clock: Clock): TaskRecord {
  const untilMs = Math.round(clock.now() + until - clock.monotonic());
  return { kind: 'Reserved', reservation: { id, caller, ticketID, untilMs } };
}

function between(least: number, value: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}

function ignore(): void {
  // Tasks have nothing to do with it.
}
