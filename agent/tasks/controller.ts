import { type Clock, sleep, type Timer } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { ContainerdError } from '../containerd/containerd-error.ts';
import { failpoint } from '../failpoints.ts';
import type { RecordFile } from '../journal/record-file.client.ts';
import { CopyState, type CopyReport } from '../proto/gen/berth/agent/v1/agent.ts';
import type { SubmitTask, TaskCapacity, TaskReply, TaskRequest, TaskSpec } from '../proto/gen/berth/agent/v1/tasks.ts';
import type { CopyController, ReportSink } from '../copies/controller.ts';
import { BulkData } from './bulk.client.ts';
import type { TaskFiles } from './files.client.ts';
import { TaskNews } from './news.client.ts';
import type { TaskLink, TaskPeer, TaskService } from './peer.ts';
import type { TaskEntry, TaskFacts, TaskJournalState, TaskPlace, TaskRecord, TaskResult } from './record.ts';
import { decideRecovery } from './recovery.ts';
import { overdue, taskOfKey, taskUnder } from './reduce.ts';
import { done, refusal, rejected } from './replies.ts';
import { isRefused, readSubmission, type Refused, type Submission } from './request.ts';
import type { TaskRuntime } from './runtime.ts';
import { SlotDesk } from './slot-desk.client.ts';
import { refOf, TaskRun, type TaskBegin } from './task-run.client.ts';
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

const sweepMs = 30_000;
/** A start of the agent waits so long for what became of its tasks, and it is looked so seldom for one that gives no answer. */
const recoverMs = 10_000;

/** One task that has not ended, and who is told of it. */
interface Live {
  readonly run: TaskRun;
  /** Resolves when its acceptance is durable. */
  readonly durable: Promise<void>;
}

/** The tasks of a runner: the authority on its slots. Takes requests from any pod, keeps them durably, and runs each once. */
export class TaskController implements TaskService {
  readonly #options: TaskControllerOptions;
  readonly #desk: SlotDesk;
  readonly #bulk: BulkData;
  readonly #news: TaskNews;
  readonly #live = new Map<string, Live>();
  /** Tasks whose files are being made: claimed, and not in the journal yet. */
  readonly #claimed = new Map<string, TaskEntry>();
  readonly #links = new Map<string, Link>();
  readonly #ended = new AbortController();
  #shareCpuMillis = 0;
  #sweep: Timer | undefined;
  #count = 0;

  constructor(options: TaskControllerOptions) {
    this.#options = options;
    this.#desk = new SlotDesk({
      ...options,
      record: (record) => this.#record(record),
      peerOf: (link) => this.#links.get(link)?.peer,
      taskUnder: (reservationID) => this.#taskUnder(reservationID)?.task,
    });
    this.#news = new TaskNews({ ...options, runOf: (taskID) => this.#live.get(taskID)?.run });
    this.#bulk = new BulkData({ ...options, liveTask: (taskID) => this.#liveTask(taskID) });
  }

  /** Goes on with what an agent before this one had accepted. Requests may come once it has resolved. */
  async start(): Promise<void> {
    const { journal, files, copies } = this.#options;
    await files.prepare();
    await files.forgetUploads();
    const { tasks, reservations } = journal.state();
    const open = [...tasks.values()].filter(({ result }) => result === undefined);
    const ids = open.map(({ task }) => task.id);
    this.#desk.restore(ids, reservations);
    await this.#recoverAll(open);
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
    this.#desk.stop();
    this.#bulk.stop();
    this.#sweep?.cancel();
  }

  capacity(): TaskCapacity {
    return this.#desk.capacity;
  }

  /** So many slots from now on, and what each is given of the processor when there is not enough for all. */
  setSlots(slots: number, shareCpuMillis: number): void {
    this.#shareCpuMillis = shareCpuMillis;
    if (slots !== this.#desk.slots) this.#desk.change({ kind: 'Resize', slots });
  }

  connect(peer: TaskPeer): TaskLink {
    const link = new Link(`link-${++this.#count}`, peer);
    this.#links.set(link.name, link);
    return {
      request: (request) => void this.#answer(link, request),
      close: () => {
        this.#links.delete(link.name);
        this.#news.leave(peer);
        this.#desk.change({ kind: 'LinkEnded', link: link.name });
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
        return this.#desk.ticket(link.name, request.value);
      case 'take':
        return this.#desk.take(request.value.ticketId);
      case 'withdraw':
        this.#desk.change({ kind: 'Withdraw', ticketID: request.value.ticketId });
        return done;
      case 'getReservation':
        return this.#desk.reservation(request.value.reservationId);
      case 'extend':
        return this.#desk.extend(request.value.reservationId, request.value.ttlMs);
      case 'release':
        return this.#desk.release(request.value.reservationId);
      case 'submit':
        return this.#submit(link, request.value);
      case 'watch':
        return this.#watch(link, request.value.taskId);
      case 'signal':
        return this.#signal(request.value.taskId, request.value.signal);
      case 'cancel':
        return this.#cancel(request.value.taskId);
      case 'openTransfer':
        return this.#bulk.open(link.peer, request.value);
    }
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
    if (!submission.uploads.every((id) => this.#bulk.hasUpload(id))) return rejected('UploadGone');
    const task: TaskFacts = { ...submission.task, place, acceptedMs: Math.round(clock.now()) };
    const reservationID = task.reservationID === '' ? undefined : task.reservationID;
    const { refused } = this.#desk.change({ kind: 'Occupy', taskID: task.id, reservationID });
    if (refused !== undefined) return rejected(refused);
    for (const id of submission.uploads) this.#bulk.forgetUpload(id);
    const durable = this.#accept(task, message, files);
    this.#news.follow(task.id, link.peer);
    try {
      await durable;
    } catch (error) {
      if (journal.state().tasks.has(task.id)) throw error;
      this.#options.log.warn({ task: task.id, err: error }, 'The files of a task could not be made');
      return rejected('DiskFull');
    }
    return await this.#news.reply(task.id, false);
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
    this.#news.follow(before.id, link.peer);
    return this.#news.reply(before.id, true);
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
      onStarted: () => void this.#news.tell(task.id),
      agentEnds: this.#ended.signal,
    });
  }

  /** Nothing was recorded and nothing ran. */
  #never(task: TaskFacts): void {
    this.#live.delete(task.id);
    this.#news.forget(task.id);
    this.#desk.change({ kind: 'Free', taskID: task.id });
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
    this.#desk.change({ kind: 'Free', taskID: task.id });
    await this.#news.tell(task.id);
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

  /** Returns when they are, or after a while: whoever asks for one that gives no answer is told what the journal says of it. */
  async #recoverAll(open: readonly TaskEntry[]): Promise<void> {
    const over = new AbortController();
    const recovered = Promise.all(open.map((entry) => this.#recover(entry, this.#goOn(entry))));
    const waited = sleep(this.#options.clock, recoverMs, over.signal).catch(() => undefined);
    recovered.catch((error: unknown) => this.#fail(error));
    try {
      await Promise.race([recovered, waited]);
    } finally {
      over.abort();
    }
  }

  /** A task of an agent before this one is there, also while it is not known yet how it goes on with it. */
  #goOn({ task }: TaskEntry): TaskRun {
    const run = this.#run(task, Promise.resolve(), []);
    this.#live.set(task.id, { run, durable: Promise.resolve() });
    return run;
  }

  /** One whose shim gives no answer holds up no other, nor the agent: it is looked for again, for as long as it takes. */
  async #recover(entry: TaskEntry, run: TaskRun): Promise<void> {
    const { clock, log } = this.#options;
    try {
      await this.#takeOver(entry, run);
    } catch (error) {
      if (this.#ended.signal.aborted) return;
      if (!(error instanceof ContainerdError)) throw error;
      log.warn({ task: entry.task.id, said: messageOf(error) }, 'It is not known what became of a task: it is looked for again');
      clock.after(recoverMs, () => {
        this.#recover(entry, run).catch((failure: unknown) => this.#fail(failure));
      });
    }
  }

  async #takeOver(entry: TaskEntry, run: TaskRun): Promise<void> {
    const { runtime, files, identity, clock, log } = this.#options;
    const { task, started } = entry;
    const own = files.of(task.id);
    const ref = refOf(task);
    const [state, spec, sandbox] = await Promise.all([
      runtime.stateOf(ref),
      own.spec(),
      task.place.kind === 'Sandbox' ? runtime.sandbox(ref.containerID) : 'Gone',
    ]);
    if (this.#ended.signal.aborted) return;
    const hasSandbox = sandbox !== 'Gone' && this.#isStill(task.place);
    const remains = { process: state.kind, hasSandbox, hasExit: own.notedExit() !== undefined, hasSpec: spec !== undefined };
    const recovery = decideRecovery(entry, { ...remains, bootID: identity.bootID });
    log.info({ task: task.id, ...remains, recovery: recovery.kind }, 'A task is taken over from the agent before this one');
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
    if (this.#options.journal.state().tasks.has(taskID)) this.#news.follow(taskID, link.peer);
    return this.#news.reply(taskID, false);
  }

  async #signal(taskID: string, signal: number): Promise<TaskReply['reply']> {
    if (!(signal >= 1 && signal <= 64)) return rejected('InvalidTask');
    const live = this.#liveTask(taskID);
    if ('code' in live) return rejected(live);
    if (live.run.startMs === 0) return rejected('TaskNotStarted');
    await live.run.signal(signal);
    return this.#news.reply(taskID, false);
  }

  async #cancel(taskID: string): Promise<TaskReply['reply']> {
    const live = this.#liveTask(taskID);
    if ('code' in live) return live.code === 'TaskEnded' ? this.#news.reply(taskID, false) : rejected(live);
    await live.durable;
    // Who is told that it is being cancelled need not ask again, whatever becomes of this agent.
    await this.#options.journal.append([{ kind: 'Cancelled', id: taskID }]);
    await live.run.cancel();
    return this.#news.reply(taskID, false);
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

  #copyChanged({ uid, epoch, state }: CopyReport): void {
    if (state === CopyState.COPY_STATE_RUNNING) return;
    for (const [id, { run }] of this.#live) {
      const place = this.#options.journal.state().tasks.get(id)?.task.place;
      if (place?.kind === 'Sandbox' && place.uid === uid && place.epoch === epoch) run.sandboxStops();
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

function ignore(): void {
  // Tasks have nothing to do with it.
}
