import { type Clock, sleep } from '../../process/clock.ts';
import type { SpecProcess } from '../security/oci.ts';
import type { OutputFile } from '../tasks/record.ts';
import {
  type Command,
  type Measures,
  nothingMeasured,
  type OneShot,
  type ProcessRef,
  type ProcessState,
  type TaskIO,
  type TaskRuntime,
  type WantedFile,
} from '../tasks/runtime.ts';
import { TaskStartError } from '../tasks/start-error.ts';
import type { Exit } from '../tasks/verdict.ts';
import { packProcess } from './any.ts';
import type { Cgroups } from './cgroups.client.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { ContainerdError, isAlreadyExists, isAmbiguous, isNotFound, status } from './containerd-error.ts';
import type { Freezes } from './freezes.client.ts';
import { ContainersService } from './gen/services/containers/v1/containers.ts';
import { TasksService } from './gen/services/tasks/v1/tasks.ts';
import { type Process, Status } from './gen/types/task/task.ts';
import { oneShotID } from './one-shot.ts';
import { type OneShots, startFailure } from './one-shots.client.ts';
import { WatchedTree } from './process-tree.client.ts';
import { attemptedOf } from './runtime-errors.ts';

export interface ContainerdTasksOptions {
  readonly connection: ContainerdConnection;
  readonly cgroups: Cgroups;
  readonly oneShots: OneShots;
  readonly freezes: Freezes;
  readonly clock: Clock;
}

/** How long one question for an end is open, and how long containerd may be away while it is asked. */
const waitMs = 3_600_000;
const awayMs = 60_000;
const pollMs = 20;
const mostTemplates = 256;
const pausedMessage = 'The sandbox is paused for a backup.';
/** A container that is not being paused is entered at once. */
const nobodyWaits = new AbortController().signal;
const away: ReadonlySet<number> = new Set([status.unavailable, status.deadlineExceeded]);
const sigkill = 9;
const none: ProcessState = { kind: 'None', exit: undefined };

/** Processes of tasks over containerd: further ones in the containers of sandboxes, and the main ones of one-shots. */
export class ContainerdTasks implements TaskRuntime {
  readonly #options: ContainerdTasksOptions;
  readonly #trees = new Map<string, WatchedTree>();
  /** What processes that are made and not started are to run. */
  readonly #commands = new Map<string, { readonly command: string; readonly workingDir: string; readonly make: () => Promise<void> }>();
  /** What was made, taken back since and is to be made again before it is started. */
  readonly #withdrawn = new Set<string>();
  /** What a process in a container is like, by container and contentVersion: a container is made anew only for another one. */
  readonly #templates = new Map<string, SpecProcess>();

  constructor(options: ContainerdTasksOptions) {
    this.#options = options;
  }

  async sandbox(containerID: string): Promise<'Running' | 'Paused' | 'Gone'> {
    const process = await this.#untilAnswered(() => this.#get({ containerID, execID: '' }));
    if (process?.status === Status.PAUSED || process?.status === Status.PAUSING) return 'Paused';
    return process?.status === Status.RUNNING ? 'Running' : 'Gone';
  }

  async createCommand(ref: ProcessRef, command: Command, io: TaskIO): Promise<void> {
    const { connection } = this.#options;
    try {
      const process = commandIn(await this.#template(ref.containerID, command.contentVersion), command);
      const spec = packProcess(process);
      const request = { containerId: ref.containerID, execId: ref.execID, terminal: false, spec, ...io };
      const make = async () => {
        await this.#unlessFrozen(ref, () => connection.call(TasksService.exec, request)).catch(unlessThere);
      };
      this.#commands.set(keyOf(ref), { command: process.args[0] ?? '', workingDir: process.cwd, make });
      await make();
      this.#withdrawn.delete(keyOf(ref));
    } catch (error) {
      if (isPaused(error)) throw new TaskStartError('SandboxPaused', pausedMessage, error);
      if (isNotFound(error)) throw new TaskStartError('SandboxStopped', 'The sandbox was stopped before the command ran.', error);
      throw error;
    }
  }

  createOneShot(id: string, oneShot: OneShot, io: TaskIO, signal: AbortSignal): Promise<void> {
    return this.#options.oneShots.create(id, oneShot, io, signal);
  }

  async start(ref: ProcessRef): Promise<void> {
    const { connection, clock } = this.#options;
    for (const giveUpAt = clock.monotonic() + awayMs; ;) {
      try {
        await this.#makeAgain(ref);
        const request = { containerId: ref.containerID, execId: ref.execID };
        const { pid } = await this.#unlessFrozen(ref, () => connection.call(TasksService.start, request));
        if (ref.execID !== '') this.#trees.set(keyOf(ref), new WatchedTree(pid));
        this.#commands.delete(keyOf(ref));
        return;
      } catch (error) {
        if (!(error instanceof ContainerdError)) throw error;
        if (!isAmbiguous(error)) return this.#startFailed(ref, error);
        if (await this.#wasStarted(ref, error)) return;
        if (clock.monotonic() >= giveUpAt) throw error;
        await sleep(clock, pollMs);
      }
    }
  }

  /** Whether a start without an answer has happened; when not, it may be asked for again. Rejects with `error` when nobody can say. */
  async #wasStarted(ref: ProcessRef, error: ContainerdError): Promise<boolean> {
    const { kind } = ref.execID === '' ? await this.stateOf(ref) : await this.withdraw(ref);
    const isWithdrawn = this.#withdrawn.has(keyOf(ref));
    if (kind === (isWithdrawn ? 'Stopped' : 'None')) throw error;
    return kind === 'Running' || kind === 'Stopped';
  }

  async withdraw(ref: ProcessRef): Promise<ProcessState> {
    const { connection, clock } = this.#options;
    const giveUpAt = clock.monotonic() + awayMs;
    let lost: ContainerdError | undefined;
    for (;;) {
      const found = await this.stateOf(ref);
      if (found.kind === 'None') return this.#neverRan(ref, lost);
      // One that has ended is removed only when its end is noted.
      if (found.kind !== 'Created') return found;
      try {
        const { pid, ...ended } = await connection.call(TasksService.deleteProcess, { containerId: ref.containerID, execId: ref.execID });
        this.#withdrawn.add(keyOf(ref));
        return pid === 0 ? none : { kind: 'Stopped', exit: exitOf(ended) };
      } catch (error) {
        // It is looked at again: a start that was under way may be why.
        if (!(error instanceof ContainerdError) || clock.monotonic() >= giveUpAt) throw error;
        lost = error;
        await sleep(clock, pollMs);
      }
    }
  }

  /** What is not there never ran only while its sandbox lives, whose shim keeps it until it is removed, and when no answer to its removal was lost. */
  async #neverRan({ containerID, execID }: ProcessRef, lost: ContainerdError | undefined): Promise<ProcessState> {
    if (lost !== undefined) throw lost;
    if ((await this.sandbox(containerID)) === 'Gone')
      throw new ContainerdError(TasksService.get.path, status.notFound, `${execID} and its sandbox are gone`);
    return none;
  }

  /** Makes a process of a sandbox anew that was taken back. */
  async #makeAgain(ref: ProcessRef): Promise<void> {
    if (!this.#withdrawn.has(keyOf(ref))) return;
    await this.#commands.get(keyOf(ref))?.make();
    this.#withdrawn.delete(keyOf(ref));
  }

  async stateOf(ref: ProcessRef): Promise<ProcessState> {
    const process = await this.#untilAnswered(() => this.#get(ref));
    if (process === undefined) return none;
    switch (process.status) {
      case Status.CREATED:
        return { kind: 'Created', exit: undefined };
      case Status.STOPPED:
        return { kind: 'Stopped', exit: exitOf(process) };
      default:
        // What is paused is said to be so whether it was started or not.
        if (ref.execID !== '' && process.pid === 0) return { kind: 'Created', exit: undefined };
        if (ref.execID !== '' && !this.#trees.has(keyOf(ref))) this.#trees.set(keyOf(ref), new WatchedTree(process.pid));
        return { kind: 'Running', exit: undefined };
    }
  }

  async wait(ref: ProcessRef, signal: AbortSignal): Promise<Exit | undefined> {
    const { connection, clock } = this.#options;
    for (;;) {
      try {
        const request = { containerId: ref.containerID, execId: ref.execID };
        return exitOf(await connection.call(TasksService.wait, request, { deadlineMs: waitMs, signal }));
      } catch (error) {
        if (!(error instanceof ContainerdError)) throw error;
      }
      // Not found, or the connection to containerd or to the shim broke: what is true now?
      const found = await this.stateOf(ref).catch(unlessAway);
      if (found?.kind === 'Stopped') return found.exit;
      if (found?.kind === 'None') return undefined;
      await sleep(clock, pollMs, signal);
    }
  }

  async signal(ref: ProcessRef, signal: number): Promise<void> {
    const { connection } = this.#options;
    const all = signal === sigkill && ref.execID === '';
    try {
      await connection.call(TasksService.kill, { containerId: ref.containerID, execId: ref.execID, signal, all });
    } catch (error) {
      if (!isNotFound(error) && !hasEnded(error)) throw error;
    }
  }

  async closeStdin({ containerID, execID }: ProcessRef): Promise<void> {
    const { connection } = this.#options;
    await connection.call(TasksService.closeIo, { containerId: containerID, execId: execID, stdin: true }).catch(unlessGone);
  }

  async kill(ref: ProcessRef): Promise<void> {
    await this.#trees.get(keyOf(ref))?.kill(() => this.#options.cgroups.processes(ref.containerID));
    await this.signal(ref, sigkill);
  }

  async measure(ref: ProcessRef): Promise<Measures> {
    if (ref.execID === '') return this.#options.oneShots.measure(taskOf(ref));
    const tree = this.#trees.get(keyOf(ref));
    if (tree === undefined) return nothingMeasured;
    return { ...nothingMeasured, cpuTimeUs: await tree.cpuTimeUs(await this.#options.cgroups.processes(ref.containerID)) };
  }

  async remove(ref: ProcessRef): Promise<void> {
    const { connection, oneShots } = this.#options;
    this.#trees.delete(keyOf(ref));
    this.#commands.delete(keyOf(ref));
    this.#withdrawn.delete(keyOf(ref));
    if (ref.execID === '') return this.#untilAnswered(() => oneShots.end(taskOf(ref)));
    const request = { containerId: ref.containerID, execId: ref.execID };
    await this.#untilAnswered(async () => {
      await connection.call(TasksService.deleteProcess, request).catch(unlessGone);
    });
  }

  collect(id: string, files: readonly WantedFile[], mostBytes: number): Promise<readonly OutputFile[]> {
    return this.#untilAnswered(() => this.#options.oneShots.collect(id, files, mostBytes));
  }

  removeOneShot(id: string): Promise<void> {
    return this.#untilAnswered(() => this.#options.oneShots.remove(id));
  }

  oneShots(): Promise<readonly string[]> {
    return this.#options.oneShots.list();
  }

  /** Begins a process, in a container that nobody pauses meanwhile. Rejects at once with `SandboxPaused` while somebody does. */
  #unlessFrozen<T>({ containerID }: ProcessRef, begin: () => Promise<T>): Promise<T> {
    const { freezes } = this.#options;
    if (freezes.isFrozen(containerID)) throw new TaskStartError('SandboxPaused', pausedMessage);
    return freezes.entering(containerID, nobodyWaits, begin);
  }

  async #get({ containerID, execID }: ProcessRef): Promise<Process | undefined> {
    const { connection } = this.#options;
    const answer = await connection.call(TasksService.get, { containerId: containerID, execId: execID }).catch(unlessGone);
    const process = answer?.process;
    // Its shim did not answer containerd in time.
    if (execID !== '' && process?.status === Status.UNKNOWN)
      throw new ContainerdError(TasksService.get.path, status.deadlineExceeded, `the state of ${execID} is not known`);
    return process;
  }

  /** A failed start is certain only when the process is still in its first state, or when the runtime says that it could not execute the program. */
  async #startFailed(ref: ProcessRef, error: ContainerdError): Promise<void> {
    const { kind, exit } = await this.stateOf(ref);
    // In a sandbox only what was started ends: by a start of an agent before this one, which came late.
    if (kind === 'Running' || (kind === 'Stopped' && ref.execID !== '')) return;
    if (ref.execID === '') return this.#oneShotFailed(ref, error, { kind, exit });
    if (isPaused(error)) {
      const { kind: found } = await this.withdraw(ref);
      if (found === 'Running' || found === 'Stopped') return;
      throw new TaskStartError('SandboxPaused', pausedMessage, error);
    }
    if ((await this.sandbox(ref.containerID)) === 'Gone') throw error;
    throw startFailure(error, this.#commands.get(keyOf(ref)) ?? { command: 'of the task', workingDir: 'of the task' });
  }

  async #oneShotFailed({ containerID }: ProcessRef, error: ContainerdError, { kind, exit }: ProcessState): Promise<void> {
    const record = await this.#options.connection.call(ContainersService.get, { id: containerID }).catch(unlessGone);
    const failure = startFailure(error, attemptedOf(record?.container?.spec?.value.toString('utf8') ?? ''));
    if (kind === 'Created' || failure.code !== 'RuntimeFailed') throw failure;
    if (kind !== 'Stopped' || exit === undefined) throw error;
  }

  async #template(containerID: string, contentVersion: number): Promise<SpecProcess> {
    const key = `${containerID}/${contentVersion}`;
    const known = this.#templates.get(key);
    if (known !== undefined) return known;
    const { container } = await this.#options.connection.call(ContainersService.get, { id: containerID });
    const { process } = JSON.parse(container?.spec?.value.toString('utf8') ?? '') as { readonly process: SpecProcess };
    for (const oldest of this.#templates.keys()) {
      if (this.#templates.size < mostTemplates) break;
      this.#templates.delete(oldest);
    }
    this.#templates.set(key, process);
    return process;
  }

  /** Repeats work, which may be repeated, while containerd is away. */
  async #untilAnswered<T>(work: () => Promise<T>): Promise<T> {
    const { clock } = this.#options;
    const giveUpAt = clock.monotonic() + awayMs;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        // Also when a shim did not answer containerd in time: it may be in the middle of a start.
        const isAway = error instanceof ContainerdError && away.has(error.grpcCode);
        if (!isAway || clock.monotonic() >= giveUpAt) throw error;
        await sleep(clock, 10 * pollMs);
      }
    }
  }
}

/** A command with the user, capabilities and limits of the container's main process. */
export function commandIn(template: SpecProcess, { args, env, workingDir }: Command): SpecProcess {
  const named = new Set(env.map(({ name }) => name));
  const others = template.env.filter((variable) => !named.has(variable.split('=', 1)[0] ?? ''));
  return {
    ...template,
    args,
    env: [...others, ...env.map(({ name, value }) => `${name}=${value}`)],
    cwd: workingDir === '' ? template.cwd : workingDir,
  };
}

function keyOf({ containerID, execID }: ProcessRef): string {
  return `${containerID}/${execID}`;
}

function taskOf({ containerID }: ProcessRef): string {
  return containerID.slice(0, -oneShotID('').length);
}

function exitOf({ exitStatus, exitedAt }: { readonly exitStatus: number; readonly exitedAt: Date | undefined }): Exit {
  return { status: exitStatus, finishMs: exitedAt?.getTime() ?? 0 };
}

function isPaused(error: unknown): boolean {
  return error instanceof ContainerdError && /paused (state|container)|container is paused|cannot exec in a paused/i.test(error.said);
}

function unlessThere(error: unknown): undefined {
  if (!isAlreadyExists(error)) throw error;
}

/** It is asked again, for as long as it takes. */
function unlessAway(error: unknown): undefined {
  if (!(error instanceof ContainerdError) || !isAmbiguous(error)) throw error;
  return undefined;
}

function hasEnded(error: unknown): boolean {
  return error instanceof ContainerdError && /process already finished|no such process|process not found/i.test(error.said);
}

/** The process, its container or its shim is not there any more. */
function unlessGone(error: unknown): undefined {
  if (isNotFound(error) || (error instanceof ContainerdError && /ttrpc: closed|no running task/.test(error.said))) return undefined;
  throw error;
}
