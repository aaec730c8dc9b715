import type { z } from 'zod';
import { Channel, type Frame, type Reservation, type TaskState } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import type { Clock } from '../../process/clock.ts';
import { sha256Hex } from '../../process/digest.ts';
import type { Caller, Subject } from '../http/callers.client.ts';
import type { Serving } from '../http/controller.ts';
import { ApiError, isCode } from '../http/errors.ts';
import type { ApiAnswer, ApiRequest, Operation, Outlet } from '../http/operation.ts';
import type { Reservations } from '../reservations/controller.ts';
import type { Agents } from './agents.client.ts';
import type { PlacedTask, Tasks, TasksOptions } from './controller.ts';
import { parsePlacedID, placedID, type PlacedID } from './ids.ts';
import type {
  eventsQuery,
  extendBody,
  fileQuery,
  inputQuery,
  outputQuery,
  placedIDParams,
  reserveBody,
  signalBody,
  submitBody,
  uploadQuery,
  waitQuery,
} from './schemas.ts';
import type { FleetStatus } from './status.ts';
import { reservationViewOf, taskViewOf } from './task-view.ts';

export interface TaskApiOptions {
  readonly tasks: Tasks;
  readonly reservations: Reservations;
  readonly agents: Agents;
  readonly sandboxOf: TasksOptions['sandboxOf'];
  readonly status: () => FleetStatus;
  /** Whether agents of all runners that are ready are connected to this pod. */
  readonly reachesAll: () => boolean;
  readonly clock: Clock;
}

type Handler = Omit<Operation, 'route'>;
type ReservationAsked = Extract<Parameters<Agents['ask']>[1], { readonly $case: 'getReservation' | 'extend' | 'release' }>;

/** So long a silent stream of events stays silent: proxies end what seems dead. */
const heartbeatMs = 15_000;
/** As the agent keeps it. */
const uploadKeptSeconds = 300;
/** While one waits for a task whose runner is lost to this pod, the others are asked so often. */
const lostMs = 1_000;

/** What the routes about slots and tasks do. */
export function taskServing(options: TaskApiOptions): Serving {
  const { tasks, reservations, agents, status } = options;

  const currentReservation = async (id: PlacedID) => {
    const current = await agents.demand(id.runnerName, { $case: 'getReservation', value: { reservationId: placedID(id) } });
    if (current.$case !== 'reservation') throw new ApiError('OutcomeUnknown');
    return current;
  };

  const reservation = (asked: (id: string, request: ApiRequest) => ReservationAsked): Handler => ({
    authorizesItself: true,
    serve: async (request) => {
      const id = placedIn(request, 'ReservationGone');
      const current = await currentReservation(id);
      await authorizeUnlessOwned(request, current.value.caller);
      const question = asked(placedID(id), request);
      const answer = question.$case === 'getReservation' ? current : await agents.demand(id.runnerName, question);
      if (answer.$case !== 'reservation') throw new ApiError('OutcomeUnknown');
      return { status: 200, body: reservationViewOf(answer.value) };
    },
  });

  const task = (serve: (id: PlacedID, state: TaskState, request: ApiRequest) => Promise<ApiAnswer>): Handler => ({
    authorizesItself: true,
    serve: async (request) => {
      const id = placedIn(request, 'TaskGone');
      const state = await tasks.get(id);
      await authorizeUnlessOwned(request, state.caller);
      return serve(id, state, request);
    },
  });

  /** Where the input is to lie, if the caller may run a task there. */
  const runnerForUpload = async (request: ApiRequest): Promise<string> => {
    const { reservationID, sandbox: name, namespace } = request.query as z.output<typeof uploadQuery>;
    if ((reservationID === undefined) === (name === undefined))
      throw new ApiError('InvalidRequest', 'The query is not as it should be. Name either reservationID or sandbox.');
    if (name !== undefined) {
      await request.authorize({ namespace, name });
      return (await options.sandboxOf({ namespace, name })).runnerName;
    }
    const id = parsePlacedID(reservationID ?? '');
    if (id === undefined) throw new ApiError('ReservationGone', 'This is no id that was ever answered.');
    await authorizeUnlessOwned(request, (await currentReservation(id)).value.caller);
    return id.runnerName;
  };

  /** What any runner will do for waits here only when no slot is free at the runners that this pod lacks and others may have. */
  const anywhere = async (request: ApiRequest, attempt: (mayWait: boolean) => Promise<ApiAnswer>): Promise<ApiAnswer> => {
    if (request.elsewhere === undefined || options.reachesAll()) return attempt(true);
    try {
      return await attempt(false);
    } catch (error) {
      if (!isCode(error, 'NoSlot', 'NoRunner')) throw error;
    }
    return (await request.elsewhere()) ?? attempt(true);
  };

  /** The task at its end, or when the wait is over. While this pod does not reach the runner, the others are asked, again and again. */
  const waitAnywhere = async (id: PlacedID, waitMs: number, request: ApiRequest): Promise<ApiAnswer> => {
    const { signal, elsewhere } = request;
    const until = options.clock.monotonic() + waitMs;
    for (;;) {
      const leftMs = Math.max(0, until - options.clock.monotonic());
      const patienceMs = Math.min(leftMs, lostMs);
      try {
        // Another pod that asks has patience itself.
        const state = await tasks.getPatiently(id, elsewhere === undefined ? 0 : patienceMs, signal);
        await authorizeUnlessOwned(request, state.caller);
        return { status: 200, body: viewOf(id, leftMs === 0 ? state : await tasks.wait(id, leftMs, signal, { patienceMs })) };
      } catch (error) {
        const answer = isCode(error, 'RunnerUnreachable') ? await elsewhere?.({ waitSeconds: String(leftMs / 1000) }) : undefined;
        if (answer !== undefined) return answer;
        const isLost = isCode(error, 'RunnerUnreachable', 'OutcomeUnknown');
        if (!isLost || elsewhere === undefined || options.clock.monotonic() >= until) throw error;
      }
    }
  };

  const reserve = async (request: ApiRequest, only: string | undefined, waitSeconds: number): Promise<ApiAnswer> => {
    const { ttlSeconds, sandbox } = request.body as z.output<typeof reserveBody>;
    const { idempotencyKey, signal } = request;
    const caller = ownerOf(request.caller);
    const slot = () => reservations.reserve({ ...{ caller, only, signal }, ttlMs: ttlSeconds * 1000, waitMs: waitSeconds * 1000 });
    if (idempotencyKey === undefined) {
      const { reservationID, expiresInMs } = await slot();
      return reserved({ reservationId: reservationID, caller, expiresInMs, taskId: '' });
    }
    const bodyHash = sha256Hex(JSON.stringify({ ttlSeconds, sandbox }));
    const { runnerName, reservationID } = await tasks.reserveOnce(idempotencyKey, caller, bodyHash, slot);
    const current = await agents.demand(runnerName, { $case: 'getReservation', value: { reservationId: reservationID } });
    if (current.$case !== 'reservation') throw new ApiError('OutcomeUnknown');
    return reserved(current.value);
  };

  const submit = async (request: ApiRequest, body: z.output<typeof submitBody>): Promise<ApiAnswer> => {
    const { idempotencyKey, signal } = request;
    const placed = await tasks.submit({ caller: ownerOf(request.caller), body, idempotencyKey, signal });
    const state = body.waitSeconds === 0 ? placed.state : await waitOrElse(tasks, placed, body.waitSeconds * 1000, signal);
    const view = viewOf(placed.id, { ...state, repeated: placed.state.repeated });
    return created(view, `/sandbox/tasks/${view.id}`);
  };

  return {
    reserve: {
      subjectOf: ({ body }) => (body as z.output<typeof reserveBody>).sandbox ?? {},
      serve: async (request) => {
        const { waitSeconds, sandbox } = request.body as z.output<typeof reserveBody>;
        const only = sandbox && (await options.sandboxOf(sandbox)).runnerName;
        if (only !== undefined) return reserve(request, only, waitSeconds);
        return anywhere(request, (mayWait) => reserve(request, undefined, mayWait ? waitSeconds : 0));
      },
    },
    getReservation: reservation((reservationId) => ({ $case: 'getReservation', value: { reservationId } })),
    extendReservation: reservation((reservationId, { body }) => ({
      $case: 'extend',
      value: { reservationId, ttlMs: (body as z.output<typeof extendBody>).ttlSeconds * 1000 },
    })),
    releaseReservation: reservation((reservationId) => ({ $case: 'release', value: { reservationId } })),
    getStatus: { serve: () => Promise.resolve({ status: 200, body: status() }) },
    upload: {
      authorizesItself: true,
      serve: async (request) => {
        const { id, sizeBytes } = await tasks.upload(await runnerForUpload(request), request.bytes());
        return { status: 201, body: { id: placedID(id), runnerName: id.runnerName, sizeBytes, keptForSeconds: uploadKeptSeconds } };
      },
    },
    submitTask: {
      subjectOf: ({ body }) => subjectOfSubmit(body as z.output<typeof submitBody>),
      serve: async (request) => {
        const body = request.body as z.output<typeof submitBody>;
        if (body.sandbox !== undefined || body.reservationID !== undefined) return submit(request, body);
        return anywhere(request, (mayWait) => submit(request, mayWait ? body : { ...body, queueSeconds: 0 }));
      },
    },
    getTask: {
      authorizesItself: true,
      serve: (request) => {
        const { waitSeconds } = request.query as z.output<typeof waitQuery>;
        return waitAnywhere(placedIn(request, 'TaskGone'), waitSeconds * 1000, request);
      },
    },
    streamTask: task((id, state, { query }) => {
      const offsets = query as z.output<typeof eventsQuery>;
      const stream = async (out: Outlet) => {
        await out.write(eventOf('task', viewOf(id, state)));
        const silence = heartbeat(options.clock, out);
        try {
          for await (const frame of tasks.output(id, { ...offsets, follow: true }, out.signal))
            if (frame.data.length > 0) await out.write(eventOf('output', outputOf(frame)));
        } finally {
          silence.cancel();
        }
        await out.write(eventOf('task', viewOf(id, await tasks.wait(id, endMs, out.signal))));
      };
      return Promise.resolve({ status: 200, contentType: 'text/event-stream', headers: { 'X-Accel-Buffering': 'no' }, stream });
    }),
    getOutput: task((id, _, { query, signal }) => {
      const { stream, offset, follow } = query as z.output<typeof outputQuery>;
      const [channel, none] = [stream === 'stdout' ? Channel.CHANNEL_STDOUT : Channel.CHANNEL_STDERR, beyondAll];
      const offsets = stream === 'stdout' ? { stdoutOffset: offset, stderrOffset: none } : { stdoutOffset: none, stderrOffset: offset };
      return bytesOf(tasks.output(id, { ...offsets, follow }, signal), (frame) => frame.channel === channel);
    }),
    getFile: task((id, _, { query, signal }) => {
      const { path, offset } = query as z.output<typeof fileQuery>;
      return bytesOf(tasks.file(id, path, offset, signal), (frame) => frame.channel === Channel.CHANNEL_FILE);
    }),
    sendInput: task(async (id, _, request) => {
      const { close } = request.query as z.output<typeof inputQuery>;
      return { status: 200, body: { takenBytes: await tasks.input(id, request.bytes(), close) } };
    }),
    signalTask: task(async (id, _, { body }) => {
      const { signal } = body as z.output<typeof signalBody>;
      return { status: 200, body: viewOf(id, await tasks.signal(id, signal)) };
    }),
    cancelTask: task(async (id) => ({ status: 200, body: viewOf(id, await tasks.cancel(id)) })),
  };
}

/** No stream is so long: nothing of it is sent. */
const beyondAll = 2 ** 50;

/** After the end of its output a task ends at once, or soon. */
const endMs = 30_000;

/** The first bytes are waited for before it is said that it goes well. */
async function bytesOf(frames: AsyncGenerator<Frame>, isWanted: (frame: Frame) => boolean): Promise<ApiAnswer> {
  const first = await frames.next();
  const stream = async (out: Outlet) => {
    if (first.done !== true && isWanted(first.value) && first.value.data.length > 0) await out.write(first.value.data);
    for await (const frame of frames) if (isWanted(frame) && frame.data.length > 0) await out.write(frame.data);
  };
  return { status: 200, contentType: 'application/octet-stream', stream };
}

/** It is accepted: whatever comes while one waits for its end, the caller is told its id. */
async function waitOrElse(tasks: Tasks, { id, state }: PlacedTask, waitMs: number, signal: AbortSignal): Promise<TaskState> {
  try {
    return await tasks.wait(id, waitMs, signal, { known: state });
  } catch {
    return state;
  }
}

function subjectOfSubmit({ sandbox, namespace }: z.output<typeof submitBody>): Subject {
  return sandbox ?? { namespace };
}

async function authorizeUnlessOwned(request: ApiRequest, owner: string): Promise<void> {
  if (owner !== ownerOf(request.caller)) await request.authorize({});
}

/** Who made something, for who keeps it: the name itself is not told to agents. */
function ownerOf({ username }: Caller): string {
  return sha256Hex(username).slice(0, 32);
}

function placedIn({ params }: ApiRequest, otherwise: 'TaskGone' | 'ReservationGone'): PlacedID {
  const { id: text } = params as z.output<typeof placedIDParams>;
  const id = parsePlacedID(text);
  if (id === undefined) throw new ApiError(otherwise, 'This is no id that was ever answered.');
  return id;
}

function viewOf(id: PlacedID, state: TaskState) {
  return taskViewOf(id, placedID(id), state);
}

function reserved(reservation: Reservation): ApiAnswer {
  return created(reservationViewOf(reservation), `/sandbox/reservations/${reservation.reservationId}`);
}

function created(body: object, location: string): ApiAnswer {
  return { status: 201, body, headers: { Location: location } };
}

function eventOf(name: string, data: object): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

function outputOf({ channel, offset, data }: Frame) {
  return { stream: channel === Channel.CHANNEL_STDERR ? 'stderr' : 'stdout', offset, base64: Buffer.from(data).toString('base64') };
}

function heartbeat(clock: Clock, out: Outlet): { cancel(): void } {
  let timer = clock.after(heartbeatMs, beat);
  function beat(): void {
    out.write(': still here\n\n').catch(() => undefined);
    timer = clock.after(heartbeatMs, beat);
  }
  return { cancel: () => timer.cancel() };
}
