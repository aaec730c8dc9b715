import { type Clock, sleep } from '../../process/clock.ts';
import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { copyID } from '../containerd/labels.ts';
import { oneShotID } from '../containerd/one-shot.ts';
import type { ImageCredential } from '../copies/runtime.ts';
import { failpoint } from '../failpoints.ts';
import type { TaskSpec } from '../proto/gen/berth/agent/v1/tasks.ts';
import type { TaskLimitName } from './codes.ts';
import type { ExitNote, FilesOfTask } from './files.client.ts';
import { StdinFeed } from './stdin.client.ts';
import type { OutputFile, TaskFacts, TaskResult } from './record.ts';
import { nothingMeasured, type Measures, type ProcessRef, type TaskRuntime } from './runtime.ts';
import { TaskStartError } from './start-error.ts';
import { lost, startFailed, verdictOf, type Exit, type TaskEnding } from './verdict.ts';
import type { Recovery } from './recovery.ts';

export interface TaskRunOptions {
  readonly task: TaskFacts;
  readonly files: FilesOfTask;
  readonly runtime: TaskRuntime;
  readonly clock: Clock;
  readonly log: Logger;
  readonly credentials: readonly ImageCredential[];
  /** What is to be run. Undefined: it is in a file, if an agent before this one has not started it. */
  readonly spec: TaskSpec | undefined;
  /** What a slot is given when there is not enough for all. */
  readonly shareCpuMillis: () => number;
  /** Resolves when it is durable that the task may be started. */
  readonly recordStart: () => Promise<void>;
  /** It runs. */
  readonly onStarted: () => void;
  /** Aborts when the agent ends: what runs goes on, and another one takes over. */
  readonly agentEnds: AbortSignal;
}

/** How an agent begins with a task: as accepted now, or as one before it left it. */
export type TaskBegin = Exclude<Recovery['kind'], 'Done' | 'Lost'>;

/** `Join`: it was started, and nobody has seen that so far. */
type RunBegin = Exclude<TaskBegin, 'TakeBack' | 'Finish'> | 'Join';

const lookMs = 50;
/** Of a process without a limit on its processor time it is looked so seldom what it uses. */
const looksBetweenMeasures = 20;
const drainMs = 1_000;
const pausedMs = 30_000;
const pausedPollMs = 200;
/** A sandbox that ends takes its tasks with it, and is seen to end after them. */
const sandboxEndMs = 500;
const [sigterm, sigkill] = [15, 9];

/** One task from its making to its result. Runs once. */
export class TaskRun {
  readonly #options: TaskRunOptions;
  readonly #ref: ProcessRef;
  readonly #cancelled = new AbortController();
  readonly #begun = Promise.withResolvers<undefined>();
  #stdin: StdinFeed | undefined;
  #startMs = 0;
  #killedFor: TaskEnding['killedFor'];
  #sandboxEnds = false;
  #measures: Measures = nothingMeasured;
  #isRunning = false;
  /** Nobody knows whether it was started. */
  #mayRun = false;
  #removed = Promise.resolve();
  #outputBytes = { stdout: 0, stderr: 0 };

  constructor(options: TaskRunOptions) {
    this.#options = options;
    this.#ref = refOf(options.task);
  }

  get startMs(): number {
    return this.#startMs;
  }

  get outputBytes(): { readonly stdout: number; readonly stderr: number } {
    return this.#outputBytes;
  }

  /** What feeds stdin, of a task that streams it. */
  get stdin(): StdinFeed | undefined {
    return this.#stdin;
  }

  /** Resolves with how it ended; undefined when the agent ends first. `startedMs`: when an agent before this one started it, or 0. */
  async run(begin: TaskBegin, startedMs: number): Promise<TaskResult | undefined> {
    const result = await this.#run(begin, startedMs);
    return this.#options.agentEnds.aborted ? undefined : result;
  }

  async #run(begin: TaskBegin, startedMs: number): Promise<TaskResult | undefined> {
    const { files } = this.#options;
    try {
      if (begin === 'Finish') return await this.#finish(undefined, startedMs, files.notedExit());
      const from = begin === 'TakeBack' ? await this.#takeBack(startedMs) : begin;
      if (typeof from === 'object') return await this.#finish(from.exit, startedMs, from);
      await this.#begin(from, startedMs);
      return await this.#finish(await this.#untilEnd(), this.#startMs, from === 'Follow' ? files.notedExit() : undefined);
    } catch (error) {
      if (this.#options.agentEnds.aborted) return undefined;
      return await this.#failed(error);
    } finally {
      this.#stdin?.close();
      this.#begun.resolve(undefined);
    }
  }

  async #begin(begin: RunBegin, startedMs: number): Promise<void> {
    this.#openStdin(begin);
    if (begin === 'Begin') await this.#create();
    else if (begin === 'Start') await this.#options.recordStart();
    if (begin === 'Begin' || begin === 'Start') await this.#start();
    else this.#started(startedMs);
    // It was cancelled before it was known to run.
    if (this.#cancelled.signal.aborted && this.#killedFor === undefined) await this.#cancelAgain();
  }

  /** What goes wrong with that leaves the rest of the cancel to come. */
  async #cancelAgain(): Promise<void> {
    const { log, task } = this.#options;
    await this.cancel().catch((error: unknown) => log.warn({ task: task.id, said: messageOf(error) }, 'A task could not be asked to end'));
  }

  /** How it goes on with what was made and may have been started; its end, noted, when it has ended. */
  async #takeBack(startMs: number): Promise<RunBegin | ExitNote> {
    const { runtime, files } = this.#options;
    this.#mayRun = true;
    const { kind, exit } = await runtime.withdraw(this.#ref);
    if (kind === 'Stopped') {
      // It may be gone already: there is no other trace.
      const note = { exit, killedFor: this.#killedFor, sandboxEnded: false, measures: this.#measures, startMs };
      files.noteExit(note);
      return { ...note, sandboxEnded: await this.#hasSandboxEnded(exit) };
    }
    this.#mayRun = kind === 'Running';
    return this.#mayRun ? 'Join' : 'Begin';
  }

  /** Resolves when containerd has nothing of its process any more. */
  get removed(): Promise<void> {
    return this.#removed;
  }

  /** Ends it: SIGTERM, after its grace SIGKILL. At once when it was not started. */
  async cancel(): Promise<void> {
    this.#cancelled.abort(new Error('the task is cancelled'));
    if (!this.#isRunning) return;
    const { runtime, clock, task } = this.#options;
    this.#killedFor ??= 'Cancel';
    clock.after(task.graceSeconds * 1000, () => this.#kill('Cancel'));
    if (task.graceSeconds > 0) await runtime.signal(this.#ref, sigterm);
  }

  async signal(signal: number): Promise<void> {
    await this.#options.runtime.signal(this.#ref, signal);
  }

  /** The sandbox that it runs in is being stopped. */
  sandboxStops(): void {
    this.#sandboxEnds = true;
  }

  #openStdin(begin: RunBegin): void {
    const { task, files, runtime, clock } = this.#options;
    if (!task.streamsStdin) return;
    // Not before it is started: what was fed to a process that is made would be fed again when the agent dies before that.
    const first = begin === 'Follow' ? Promise.resolve(Buffer.alloc(0)) : this.#begun.promise.then(() => files.stdinBegin());
    this.#stdin = new StdinFeed(files.fifo, first, () => runtime.closeStdin(this.#ref), clock);
  }

  async #create(): Promise<void> {
    const { task, files, recordStart } = this.#options;
    const spec = this.#options.spec ?? (await files.spec());
    if (spec === undefined) throw new TaskStartError('AgentRestarted', 'What was to be run is not there any more.');
    const hasStdin = task.streamsStdin || spec.stdin?.content !== undefined;
    const io = {
      stdin: hasStdin ? await files.stdin(task.streamsStdin) : '',
      stdout: files.stream('stdout'),
      stderr: files.stream('stderr'),
    };
    if (task.place.kind === 'OneShot') {
      FAILPOINT: failpoint('command.recorded');
      await this.#createOneShot(spec, io);
      await recordStart();
    } else {
      // Making a process is no effect: it may be made while its start becomes durable.
      await Promise.all([this.#createCommand(spec, io), recordStart()]);
    }
    FAILPOINT: failpoint('command.created');
  }

  async #createCommand(spec: TaskSpec, io: Parameters<TaskRuntime['createCommand']>[2]): Promise<void> {
    const { task, runtime, clock } = this.#options;
    const { command, args, env, workingDir } = spec;
    const contentVersion = task.place.kind === 'Sandbox' ? task.place.contentVersion : 0;
    const giveUpAt = clock.monotonic() + pausedMs;
    for (;;) {
      try {
        await runtime.createCommand(this.#ref, { args: [...command, ...args], env, workingDir, contentVersion }, io);
        return;
      } catch (error) {
        const isPaused = error instanceof TaskStartError && error.code === 'SandboxPaused';
        if (!isPaused || clock.monotonic() >= giveUpAt) throw error;
        await sleep(clock, pausedPollMs, this.#cancelled.signal);
      }
    }
  }

  async #createOneShot(spec: TaskSpec, io: Parameters<TaskRuntime['createOneShot']>[2]): Promise<void> {
    const { task, runtime, files, credentials, shareCpuMillis } = this.#options;
    const { where, command, args, env, workingDir, inputFiles } = spec;
    if (where?.$case !== 'oneShot') throw new TaskStartError('RuntimeFailed', 'It does not say what to run where.');
    const { image, imagePullPolicy, namespace, runAsUser, runAsGroup } = where.value;
    const { cpuMillis, cpuTimeMs, memoryBytes, pids } = task.limits;
    const oneShot = {
      ...{ image, imagePullPolicy: imagePullPolicy as 'Always' | 'IfNotPresent' | 'Never', namespace, credentials },
      ...{ command, args, env, workingDir, runAsUser, runAsGroup },
      ...{ shareCpuMillis: shareCpuMillis(), cpuMillis, cpuTimeMs, memoryBytes, pids },
      files: inputFiles.map(({ path }, index) => ({ path, source: files.input(index) })),
    };
    await runtime.createOneShot(task.id, oneShot, io, this.#cancelled.signal);
  }

  async #start(): Promise<void> {
    const { runtime, clock, files } = this.#options;
    this.#cancelled.signal.throwIfAborted();
    this.#mayRun = true;
    const startMs = Math.round(clock.now());
    await this.#untilUnpaused(() => runtime.start(this.#ref));
    FAILPOINT: failpoint('command.started');
    this.#started(startMs);
    await files.forgetSpec();
  }

  async #untilUnpaused(start: () => Promise<void>): Promise<void> {
    const { clock } = this.#options;
    const giveUpAt = clock.monotonic() + pausedMs;
    for (;;) {
      try {
        await start();
        return;
      } catch (error) {
        const isPaused = error instanceof TaskStartError && error.code === 'SandboxPaused';
        if (!isPaused || clock.monotonic() >= giveUpAt) throw error;
        await sleep(clock, pausedPollMs);
      }
    }
  }

  #started(startMs: number): void {
    this.#isRunning = true;
    this.#startMs = startMs;
    this.#begun.resolve(undefined);
    this.#options.onStarted();
  }

  async #untilEnd(): Promise<Exit | undefined> {
    const { runtime, clock, task } = this.#options;
    const ended = new AbortController();
    const { wallTimeMs } = task.limits;
    const wall =
      wallTimeMs === 0 ? undefined : clock.after(Math.max(0, this.#startMs + wallTimeMs - clock.now()), () => this.#kill('WallTime'));
    const looking = this.#lookAgain(ended.signal);
    try {
      return await runtime.wait(this.#ref, this.#options.agentEnds);
    } finally {
      wall?.cancel();
      ended.abort();
      await looking;
    }
  }

  /** Looks whether it keeps its limits until the signal aborts. */
  async #lookAgain(ended: AbortSignal): Promise<void> {
    const { clock, log, task } = this.#options;
    for (let looks = 1; ; looks++) {
      try {
        await sleep(clock, lookMs, ended);
      } catch {
        return;
      }
      try {
        await this.#look(looks);
      } catch (error) {
        log.warn({ task: task.id, said: messageOf(error) }, 'It could not be looked what a task uses');
      }
    }
  }

  async #look(looks: number): Promise<void> {
    const { runtime, task, files } = this.#options;
    const { cpuTimeMs, outputBytes } = task.limits;
    this.#outputBytes = { stdout: await files.size('stdout'), stderr: await files.size('stderr') };
    if (outputBytes > 0 && this.#outputBytes.stdout + this.#outputBytes.stderr > outputBytes) this.#kill('Output');
    if (cpuTimeMs > 0 || looks % looksBetweenMeasures === 0) this.#measures = await runtime.measure(this.#ref);
    if (cpuTimeMs > 0 && this.#measures.cpuTimeUs > cpuTimeMs * 1000) this.#kill('CpuTime');
    // Until it has ended: what it starts meanwhile is killed too.
    if (this.#killedFor !== undefined && this.#killedFor !== 'Cancel') await runtime.kill(this.#ref);
  }

  #kill(because: TaskLimitName | 'Cancel'): void {
    const { runtime, log, task } = this.#options;
    this.#killedFor ??= because;
    runtime.kill(this.#ref).catch((error: unknown) => log.warn({ task: task.id, said: messageOf(error) }, 'A task could not be killed'));
  }

  /** Its process has ended, or is gone: how is noted (unless an agent before this one did), the process removed, and what is kept of it collected. */
  async #finish(exit: Exit | undefined, startedMs: number, noted: ExitNote | undefined): Promise<TaskResult> {
    const { files, task } = this.#options;
    const note = noted ?? (await this.#noteOf(exit, startedMs));
    FAILPOINT: failpoint('command.exited');
    // The next agent sees for itself: what this one saw while it let go may be no end.
    this.#options.agentEnds.throwIfAborted();
    files.noteExit(note);
    this.#startMs = note.startMs;
    await this.#remove();
    FAILPOINT: failpoint('command.removed');
    const kept = task.outputFiles.length === 0 || note.exit === undefined ? [] : await this.#collect();
    return this.#resultOfNote(note, kept);
  }

  /** What a command in a sandbox left running may hold its output open: it is waited for only for a moment, and removed when it lets go. */
  async #remove(): Promise<void> {
    const { runtime, task, clock, log } = this.#options;
    this.#removed = runtime.remove(this.#ref);
    if (task.place.kind === 'OneShot') return this.#removed;
    const about = { task: task.id };
    this.#removed.catch((error: unknown) =>
      log.warn({ ...about, said: messageOf(error) }, 'The process of a task could not be removed yet'),
    );
    const waited = new AbortController();
    const moment = sleep(clock, drainMs, waited.signal).catch(() => undefined);
    await Promise.race([this.#removed.catch(() => undefined), moment]);
    waited.abort();
  }

  async #noteOf(exit: Exit | undefined, startMs: number): Promise<ExitNote> {
    const { runtime, task } = this.#options;
    const found = exit ?? (await runtime.stateOf(this.#ref)).exit;
    const measures = task.place.kind === 'OneShot' ? await runtime.measure(this.#ref) : this.#measures;
    return { exit: found, killedFor: this.#killedFor, sandboxEnded: await this.#hasSandboxEnded(found), measures, startMs };
  }

  async #hasSandboxEnded(exit: Exit | undefined): Promise<boolean> {
    const { runtime, task, clock } = this.#options;
    if (task.place.kind === 'OneShot' || this.#killedFor !== undefined) return false;
    if (exit !== undefined && exit.status !== 128 + sigkill) return false;
    for (const giveUpAt = clock.monotonic() + sandboxEndMs; ;) {
      if (this.#sandboxEnds || (await runtime.sandbox(this.#ref.containerID)) === 'Gone') return true;
      if (clock.monotonic() >= giveUpAt) return false;
      await sleep(clock, lookMs);
    }
  }

  async #collect(): Promise<readonly OutputFile[]> {
    const { runtime, files, task } = this.#options;
    const given = (path: string) => (task.inputFiles.includes(path) ? files.input(task.inputFiles.indexOf(path)) : undefined);
    const wanted = task.outputFiles.map((path, index) => ({ path, to: files.output(index), source: given(path) }));
    return runtime.collect(task.id, wanted, task.limits.outputFilesBytes);
  }

  async #resultOfNote({ exit, killedFor, sandboxEnded, measures, startMs }: ExitNote, kept: readonly OutputFile[]): Promise<TaskResult> {
    const { files, task } = this.#options;
    const finishMs = exit?.finishMs ?? this.#options.clock.now();
    const [stdout, stderr] = await Promise.all([files.size('stdout'), files.size('stderr')]);
    const verdict = verdictOf({
      ...{ exit, killedFor, sandboxEnded, oomKills: measures.oomKills, pidsRefused: measures.pidsRefused, limits: task.limits },
      isMeasured: task.place.kind === 'OneShot',
      usage: usageOf(measures, startMs, finishMs),
      outputBytes: stdout + stderr,
    });
    this.#startMs = startMs;
    this.#measures = measures;
    return this.#resultOf(verdict, kept, finishMs, [stdout, stderr]);
  }

  async #resultOf(
    verdict: ReturnType<typeof verdictOf>,
    kept: readonly OutputFile[],
    finishMs: number,
    sizes?: readonly [number, number],
  ): Promise<TaskResult> {
    const { files, task } = this.#options;
    const { outputBytes } = task.limits;
    const [stdoutBytes, stderrBytes] = sizes ?? (await Promise.all([files.size('stdout'), files.size('stderr')]));
    const truncated = outputBytes > 0 && stdoutBytes + stderrBytes > outputBytes;
    if (truncated) await files.cut(outputBytes);
    return {
      ...verdict,
      ...{ startMs: this.#startMs, finishMs: Math.round(finishMs), usage: usageOf(this.#measures, this.#startMs, finishMs) },
      ...{ stdoutBytes, stderrBytes, truncated, files: kept },
    };
  }

  /** Nothing of it is left when this resolves, or the next look at what is left finds it. */
  async #failed(error: unknown): Promise<TaskResult> {
    const { runtime, log, task, clock } = this.#options;
    const about = { task: task.id, said: messageOf(error) };
    FAILPOINT: failpoint('command.failed');
    const orTell = (err: unknown) => log.warn({ ...about, err }, 'What is left of a task could not be removed');
    if ((this.#isRunning || this.#mayRun) && !(error instanceof TaskStartError)) await runtime.kill(this.#ref).catch(orTell);
    await runtime.remove(this.#ref).catch(orTell);
    if (error instanceof TaskStartError) return this.#neverRan(startFailed(error.code, error.message));
    if (this.#cancelled.signal.aborted && !this.#isRunning && !this.#mayRun) return this.#neverRan(cancelledBefore);
    if (await this.#hasSandboxEnded(undefined)) return this.#resultOf(sandboxEnded, [], clock.now());
    log.warn(about, 'A task is lost: it is not known how it ended');
    return this.#resultOf(lost('ProcessLost', this.#isRunning || this.#mayRun), [], clock.now());
  }

  #neverRan(verdict: ReturnType<typeof verdictOf>): Promise<TaskResult> {
    this.#startMs = 0;
    return this.#resultOf(verdict, [], this.#options.clock.now());
  }
}

const sandboxEnded = {
  ...lost('SandboxStopped', true),
  outcome: 'SandboxStopped',
} as const;
const cancelledBefore = {
  ...startFailed('RuntimeFailed', 'It was cancelled before it started.'),
  outcome: 'Cancelled',
  reason: '',
} as const;

/** The process of a task: its ids follow from the task's, so that it is found again. */
export function refOf({ id, place }: Pick<TaskFacts, 'id' | 'place'>): ProcessRef {
  return place.kind === 'Sandbox' ? { containerID: copyID(place), execID: id } : { containerID: oneShotID(id), execID: '' };
}

function usageOf({ cpuTimeUs, memoryPeakBytes }: Measures, startMs: number, finishMs: number) {
  return { cpuTimeUs, memoryPeakBytes, wallTimeUs: startMs === 0 ? 0 : Math.max(0, Math.round((finishMs - startMs) * 1000)) };
}
