import { v4 as uuid } from 'uuid';
import {
  TaskPhase,
  TransferKind,
  type OpenTransfer,
  type RegistryLogin,
  type SubmitTask,
  type TaskEvent,
  type TaskState,
} from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import type { Clock } from '../../process/clock.ts';
import { sha256Hex } from '../../process/digest.ts';
import { ApiError, isCode } from '../http/errors.ts';
import type { Reservations, Reserved } from '../reservations/controller.ts';
import type { AgentEvents, Agents, Answered, Asked } from './agents.client.ts';
import type { SandboxRef } from './gather.ts';
import { parsePlacedID, placedID, type PlacedID } from './ids.ts';
import { keyMs, type KeyClaim, type KeyClaims } from './key-claims.client.ts';
import type { SubmitBody } from './schemas.ts';
import { taskSpecOf, type TaskSandbox } from './task-spec.ts';
import type { Transfers } from './transfers.server.ts';

/** A sandbox that runs, and where. */
export type RunningSandbox = TaskSandbox;

export interface TasksOptions {
  readonly agents: Agents;
  readonly reservations: Reservations;
  readonly keys: KeyClaims;
  readonly transfers: Transfers;
  /** The storeID of the runner whose agent is connected to this pod. */
  readonly storeOf: (runnerName: string) => string | undefined;
  /** @throws ApiError `SandboxNotFound`, `SandboxNotRunning`, `SandboxUnavailable` */
  readonly sandboxOf: (ref: SandboxRef) => Promise<RunningSandbox>;
  /** What Secrets in a namespace hold for pulling images. @throws ApiError `ImagePullSecretInvalid`, `SecretUnavailable` */
  readonly credentialsIn: (namespace: string, named: SubmitBody['imagePullSecrets']) => Promise<readonly RegistryLogin[]>;
  readonly clock: Clock;
}

/** A task at its runner, as told last. */
export interface PlacedTask {
  readonly id: PlacedID;
  readonly state: TaskState;
}

export interface Submission {
  /** Opaque name of the caller. */
  readonly caller: string;
  readonly body: SubmitBody;
  readonly idempotencyKey: string | undefined;
  readonly signal: AbortSignal;
}

/** How often a request is placed anew after it was certainly not done where it was placed. */
const mostPlacements = 4;
/** A slot that was reserved for a task at once is used at once. */
const ownTtlMs = 30_000;

export interface WaitOptions {
  /** What the agent has answered in this turn, and with it said that it tells of the end. Default: it is asked. */
  readonly known?: TaskState;
  /** So long a runner that is not reached meanwhile is tried again. Default: the whole wait. */
  readonly patienceMs?: number;
}

/** Submits tasks to agents, and follows them. Keeps nothing that it could not ask for again. */
export class Tasks implements AgentEvents {
  readonly #options: TasksOptions;
  readonly #watched = new Map<string, Set<(state: TaskState | undefined) => void>>();
  /** What has ended in this turn: who has just submitted one of them watches it only after its answer was dealt with. */
  readonly #justEnded = new Map<string, TaskState>();

  constructor(options: TasksOptions) {
    this.#options = options;
    options.agents.subscribe(this);
  }

  event(runnerName: string, event: NonNullable<TaskEvent['event']>): void {
    if (event.$case !== 'task') return;
    const key = watchKey(runnerName, event.value.taskId);
    const watchers = this.#watched.get(key);
    for (const told of watchers ?? []) told(event.value);
    if (event.value.phase !== TaskPhase.TASK_PHASE_ENDED) return;
    this.#justEnded.set(key, event.value);
    this.#options.clock.after(0, () => this.#justEnded.delete(key));
  }

  lost(runnerName: string): void {
    for (const [key, watchers] of this.#watched) if (key.startsWith(`${runnerName}/`)) for (const told of watchers) told(undefined);
  }

  /** Runs a command once. Resolves when the agent has accepted it for good. */
  async submit(submission: Submission): Promise<PlacedTask> {
    const { body, caller, idempotencyKey } = submission;
    const sandbox = body.sandbox && (await this.#options.sandboxOf(body.sandbox));
    const spec = taskSpecOf(body, sandbox);
    const { namespace, imagePullSecrets } = body;
    const credentials = imagePullSecrets.length === 0 ? [] : [...(await this.#options.credentialsIn(namespace, imagePullSecrets))];
    const { waitSeconds: _, queueSeconds: __, ...same } = body;
    const draft: Draft = { caller, bodyHash: sha256Hex(JSON.stringify(same)), keyHash: '', spec, credentials };
    if (sandbox !== undefined) {
      const keyHash = idempotencyKey === undefined ? '' : sha256Hex(JSON.stringify([caller, idempotencyKey]));
      return this.#submitTo(sandbox.runnerName, { ...draft, keyHash }, submission);
    }
    if (body.reservationID !== undefined) return this.#submitUnder(body.reservationID, uuid(), draft);
    return idempotencyKey === undefined ? this.#submitAnywhere(draft, submission) : this.#submitOnce(idempotencyKey, draft, submission);
  }

  /** Reserves a slot once for each key. */
  async reserveOnce(
    key: string,
    caller: string,
    bodyHash: string,
    reserve: () => Promise<Reserved>,
  ): Promise<{ readonly runnerName: string; readonly reservationID: string }> {
    for (let tries = 0; tries < mostPlacements; tries++) {
      const claim = await this.#options.keys.claim(caller, `reserve/${key}`, bodyHash);
      if (claim.ageMs > keyMs) await this.#options.keys.forget(claim);
      else {
        const placed = claim.placement === undefined ? await this.#place(claim, await reserve()) : claim;
        if (placed?.placement !== undefined) return placed.placement;
      }
    }
    throw new ApiError('OutcomeUnknown');
  }

  /** The task as it is now. @throws ApiError `TaskGone` */
  async get(id: PlacedID): Promise<TaskState> {
    return taskOf(await this.#ask(id, { $case: 'watch', value: { taskId: id.uuid } }));
  }

  /** As `get`, at its end or when the wait is over. */
  async wait(id: PlacedID, waitMs: number, signal: AbortSignal, { known, patienceMs = waitMs }: WaitOptions = {}): Promise<TaskState> {
    const { clock } = this.#options;
    const until = clock.monotonic() + waitMs;
    using ended = this.#watch(id, until, signal);
    const heard = known && (this.#justEnded.get(watchKey(id.runnerName, id.uuid)) ?? known);
    let state = heard ?? (await this.getPatiently(id, patienceMs, signal));
    while (state.phase !== TaskPhase.TASK_PHASE_ENDED && clock.monotonic() < until) {
      const told = await ended.next();
      signal.throwIfAborted();
      state =
        told ?? (clock.monotonic() < until ? await this.getPatiently(id, Math.min(patienceMs, until - clock.monotonic()), signal) : state);
    }
    return state;
  }

  async signal(id: PlacedID, signal: number): Promise<TaskState> {
    return taskOf(await this.#ask(id, { $case: 'signal', value: { taskId: id.uuid, signal } }));
  }

  async cancel(id: PlacedID): Promise<TaskState> {
    return taskOf(await this.#ask(id, { $case: 'cancel', value: { taskId: id.uuid } }));
  }

  /** What the task wrote, as it comes. */
  output(id: PlacedID, from: Pick<OpenTransfer, 'stdoutOffset' | 'stderrOffset' | 'follow'>, signal: AbortSignal) {
    return this.#options.transfers.read(
      id.runnerName,
      { ...nothing, ...from, kind: TransferKind.TRANSFER_KIND_OUTPUT, taskId: id.uuid },
      signal,
    );
  }

  file(id: PlacedID, path: string, offset: number, signal: AbortSignal) {
    const wanted = { ...nothing, kind: TransferKind.TRANSFER_KIND_FILE, taskId: id.uuid, path, stdoutOffset: offset };
    return this.#options.transfers.read(id.runnerName, wanted, signal);
  }

  input(id: PlacedID, chunks: AsyncIterable<Uint8Array>, isLast: boolean): Promise<number> {
    return this.#options.transfers.write(
      id.runnerName,
      { ...nothing, kind: TransferKind.TRANSFER_KIND_STDIN, taskId: id.uuid },
      chunks,
      isLast,
    );
  }

  /** Brings an input to a runner, for a task there. */
  async upload(runnerName: string, chunks: AsyncIterable<Uint8Array>): Promise<{ readonly id: PlacedID; readonly sizeBytes: number }> {
    const id = { uuid: uuid(), storeID: this.#storeAt(runnerName), runnerName };
    const wanted = { ...nothing, kind: TransferKind.TRANSFER_KIND_UPLOAD, uploadId: id.uuid };
    return { id, sizeBytes: await this.#options.transfers.write(runnerName, wanted, chunks, true) };
  }

  /** Removes expired keys until the signal is aborted. */
  run(signal: AbortSignal): Promise<void> {
    return this.#options.keys.run(signal, (claim) => this.#isOver(claim));
  }

  /** One whose runner is not reached is kept, but not for ever. */
  async #isOver({ placement, taskUuid, ageMs }: KeyClaim): Promise<boolean> {
    if (placement === undefined || ageMs > forgottenMs) return true;
    try {
      const { phase } = taskOf(await this.#options.agents.demand(placement.runnerName, { $case: 'watch', value: { taskId: taskUuid } }));
      return phase === TaskPhase.TASK_PHASE_ENDED;
    } catch (error) {
      return error instanceof ApiError && error.code === 'TaskGone';
    }
  }

  /** In a sandbox: with a slot that is free there, or that is waited for. */
  async #submitTo(runnerName: string, draft: Draft, { caller, body, signal }: Submission): Promise<PlacedTask> {
    const taskUuid = uuid();
    if (body.reservationID !== undefined) return this.#submitUnder(body.reservationID, taskUuid, draft);
    try {
      return await this.#send(runnerName, this.#storeAt(runnerName), taskUuid, '', draft);
    } catch (error) {
      if (!isCode(error, 'NoSlot') || body.queueSeconds === 0) throw error;
    }
    const reserved = await this.#options.reservations.reserve({
      ...{ caller, signal, ttlMs: ownTtlMs, waitMs: body.queueSeconds * 1000, only: runnerName },
    });
    return this.#sendOrRelease(reserved, taskUuid, draft);
  }

  async #submitUnder(reservationID: string, taskUuid: string, draft: Draft): Promise<PlacedTask> {
    const id = parsePlacedID(reservationID);
    if (id === undefined) throw new ApiError('ReservationGone', `${reservationID} is no id of a reservation.`);
    return this.#send(id.runnerName, id.storeID, taskUuid, reservationID, draft);
  }

  /** A one-shot without a key: the task's id is new, so that a slot that seems free is tried without a reservation. */
  async #submitAnywhere(draft: Draft, { caller, body, signal }: Submission): Promise<PlacedTask> {
    const { reservations } = this.#options;
    const taskUuid = uuid();
    for (const runnerName of reservations.freeRunners()) {
      const settle = reservations.assume(runnerName);
      try {
        const placed = await this.#send(runnerName, this.#storeAt(runnerName), taskUuid, '', draft);
        settle(true);
        return placed;
      } catch (error) {
        settle(false);
        if (!isCode(error, 'NoSlot', 'RunnerUnreachable', 'AgentEnding', 'DiskFull', 'StoreMismatch')) throw error;
      }
    }
    const reserved = await reservations.reserve({ caller, signal, ttlMs: ownTtlMs, waitMs: body.queueSeconds * 1000 });
    return this.#sendOrRelease(reserved, taskUuid, draft);
  }

  /** A one-shot with a key: whichever pod gets a slot first writes down where, before it sends it there; every retry sends the same to the same place. */
  async #submitOnce(key: string, draft: Draft, { caller, body, signal }: Submission): Promise<PlacedTask> {
    const { keys, reservations } = this.#options;
    for (let tries = 0; tries < mostPlacements; tries++) {
      const claim = await keys.claim(caller, key, draft.bodyHash);
      if (claim.ageMs > keyMs && (await this.#isOver(claim))) {
        await keys.forget(claim);
        continue;
      }
      const reserve = () => reservations.reserve({ caller, signal, ttlMs: ownTtlMs, waitMs: body.queueSeconds * 1000 });
      const placed = claim.placement === undefined ? await this.#place(claim, await reserve()) : claim;
      const done = placed && (await this.#sendPlaced(placed, draft));
      if (done !== undefined) return done;
    }
    throw new ApiError('OutcomeUnknown');
  }

  /** Undefined: it is placed elsewhere meanwhile, or its key is claimed anew. */
  async #place(claim: KeyClaim, reserved: Reserved): Promise<KeyClaim | undefined> {
    const { runnerName, reservationID } = reserved;
    try {
      const written = await this.#options.keys.place(claim, { runnerName, reservationID });
      if (written === undefined) this.#options.reservations.release(reserved);
      return written;
    } catch (error) {
      this.#options.reservations.release(reserved);
      throw error;
    }
  }

  /** Undefined: it was certainly not done there and never will be, and its key is free to be placed anew. */
  async #sendPlaced(claim: KeyClaim, draft: Draft): Promise<PlacedTask | undefined> {
    try {
      return await this.#submitUnder(claim.placement?.reservationID ?? '', claim.taskUuid, draft);
    } catch (error) {
      if (!isCode(error, 'ReservationGone')) throw error;
    }
    await this.#options.keys.place(claim, undefined);
    return undefined;
  }

  async #sendOrRelease(reserved: Reserved, taskUuid: string, draft: Draft): Promise<PlacedTask> {
    try {
      return await this.#submitUnder(reserved.reservationID, taskUuid, draft);
    } catch (error) {
      if (!isCode(error, 'OutcomeUnknown')) this.#options.reservations.release(reserved);
      throw error;
    }
  }

  async #send(runnerName: string, storeID: string, taskUuid: string, reservationId: string, draft: Draft): Promise<PlacedTask> {
    const task: SubmitTask = { taskId: taskUuid, storeId: storeID, reservationId, ...draft };
    try {
      const state = taskOf(await this.#options.agents.demand(runnerName, { $case: 'submit', value: task }));
      return { id: { uuid: state.taskId, storeID, runnerName }, state };
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 'OutcomeUnknown') throw error;
      const taskID = placedID({ uuid: taskUuid, storeID, runnerName });
      throw new ApiError('OutcomeUnknown', `${error.message} If it was accepted it is the task ${taskID}.`, { details: { taskID } });
    }
  }

  #storeAt(runnerName: string): string {
    const storeID = this.#options.storeOf(runnerName);
    if (storeID === undefined) throw new ApiError('RunnerUnreachable', `The runner ${runnerName} is not connected to this operator pod.`);
    return storeID;
  }

  /** As `get`. A runner that is not reached is tried again for `patienceMs`. */
  async getPatiently(id: PlacedID, patienceMs: number, signal: AbortSignal): Promise<TaskState> {
    const { clock } = this.#options;
    for (const until = clock.monotonic() + patienceMs; ;) {
      try {
        return await this.get(id);
      } catch (error) {
        if (!isCode(error, 'RunnerUnreachable', 'OutcomeUnknown') || clock.monotonic() >= until) throw error;
      }
      await new Promise<void>((resolve) => clock.after(retryMs, resolve));
      signal.throwIfAborted();
    }
  }

  async #ask(id: PlacedID, asked: Asked): Promise<Answered> {
    const storeID = this.#options.storeOf(id.runnerName);
    if (storeID !== undefined && storeID !== id.storeID)
      throw new ApiError('TaskGone', `The runner ${id.runnerName} has another disk now.`);
    return this.#options.agents.demand(id.runnerName, asked);
  }

  /** What is told of the task, one after another; undefined when its runner was lost, or the time is over. */
  #watch({ runnerName, uuid: taskId }: PlacedID, until: number, signal: AbortSignal): Watch {
    const { clock } = this.#options;
    const key = watchKey(runnerName, taskId);
    const queue: (TaskState | undefined)[] = [];
    let wake: (() => void) | undefined;
    const told = (state: TaskState | undefined) => {
      queue.push(state);
      wake?.();
    };
    const watchers = this.#watched.get(key) ?? new Set();
    this.#watched.set(key, watchers.add(told));
    const nothingMore = () => told(undefined);
    const timer = clock.after(Math.max(0, until - clock.monotonic()), nothingMore);
    signal.addEventListener('abort', nothingMore, { once: true });
    return {
      next: async () => {
        if (queue.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        return queue.shift();
      },
      [Symbol.dispose]: () => {
        timer.cancel();
        signal.removeEventListener('abort', nothingMore);
        watchers.delete(told);
        if (watchers.size === 0) this.#watched.delete(key);
      },
    };
  }
}

type Draft = Pick<SubmitTask, 'caller' | 'bodyHash' | 'keyHash' | 'spec' | 'credentials'>;

interface Watch extends Disposable {
  next(): Promise<TaskState | undefined>;
}

/** A key whose runner never comes back is forgotten in the end. */
const forgottenMs = 24 * 3_600_000;
const retryMs = 250;
const nothing = { taskId: '', uploadId: '', path: '', stdoutOffset: 0, stderrOffset: 0, follow: false };

const watchKey = (runnerName: string, taskId: string) => `${runnerName}/${taskId}`;

function taskOf(answer: Answered): TaskState {
  if (answer.$case === 'task') return answer.value;
  throw new ApiError('OutcomeUnknown', 'The agent gave an answer of a newer version.');
}
