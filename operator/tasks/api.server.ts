import type { z } from 'zod';
import { Channel, type Frame, type TaskState } from '../../agent/proto/gen/berth/agent/v1/tasks.ts';
import type { Clock } from '../../process/clock.ts';
import { sha256Hex } from '../../process/digest.ts';
import type { Caller, Subject } from '../http/callers.client.ts';
import type { Serving } from '../http/controller.ts';
import { ApiError } from '../http/errors.ts';
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
  readonly clock: Clock;
}

type Handler = Omit<Operation, 'route'>;
type ReservationAsked = Extract<Parameters<Agents['ask']>[1], { readonly $case: 'getReservation' | 'extend' | 'release' }>;

/** So long a silent stream of events stays silent: proxies end what seems dead. */
const heartbeatMs = 15_000;

/** What the routes about slots and tasks do. */
export function taskServing(options: TaskApiOptions): Serving {
  const { tasks, reservations, agents, status } = options;

  const reservation = (asked: (id: string, request: ApiRequest) => ReservationAsked): Handler => ({
    authorizesItself: true,
    serve: async (request) => {
      const id = placedIn(request, 'ReservationGone');
      const current = await agents.demand(id.runnerName, { $case: 'getReservation', value: { reservationId: placedID(id) } });
      if (current.$case !== 'reservation') throw new ApiError('OutcomeUnknown');
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

  return {
    reserve: {
      subjectOf: ({ body }) => (body as z.output<typeof reserveBody>).sandbox ?? {},
      serve: async (request) => {
        const { ttlSeconds, waitSeconds, sandbox } = request.body as z.output<typeof reserveBody>;
        const only = sandbox && options.sandboxOf(sandbox.namespace, sandbox.name).runnerName;
        const caller = ownerOf(request.caller);
        const reserve = () =>
          reservations.reserve({ ...{ caller, only, signal: request.signal }, ttlMs: ttlSeconds * 1000, waitMs: waitSeconds * 1000 });
        if (request.idempotencyKey === undefined) {
          const { reservationID, expiresInMs } = await reserve();
          return created(
            reservationViewOf({ reservationId: reservationID, caller, expiresInMs, taskId: '' }),
            `/sandbox/reservations/${reservationID}`,
          );
        }
        const bodyHash = sha256Hex(JSON.stringify({ ttlSeconds, sandbox }));
        const { runnerName, reservationID } = await tasks.reserveOnce(request.idempotencyKey, caller, bodyHash, reserve);
        const current = await agents.demand(runnerName, { $case: 'getReservation', value: { reservationId: reservationID } });
        if (current.$case !== 'reservation') throw new ApiError('OutcomeUnknown');
        return created(reservationViewOf(current.value), `/sandbox/reservations/${reservationID}`);
      },
    },
    getReservation: reservation((reservationId) => ({ $case: 'getReservation', value: { reservationId } })),
    extendReservation: reservation((reservationId, { body }) => ({
      $case: 'extend',
      value: { reservationId, ttlMs: (body as z.output<typeof extendBody>).ttlSeconds * 1000 },
    })),
    releaseReservation: reservation((reservationId) => ({ $case: 'release', value: { reservationId } })),
    getStatus: { serve: () => Promise.resolve({ status: 200, body: status() }) },
    submitTask: {
      subjectOf: ({ body }) => subjectOfSubmit(body as z.output<typeof submitBody>),
      serve: async (request) => {
        const body = request.body as z.output<typeof submitBody>;
        const { idempotencyKey, signal } = request;
        const placed = await tasks.submit({ caller: ownerOf(request.caller), body, idempotencyKey, signal });
        const state = body.waitSeconds === 0 ? placed.state : await waitOrElse(tasks, placed, body.waitSeconds * 1000, signal);
        const view = viewOf(placed.id, { ...state, repeated: placed.state.repeated });
        return created(view, `/sandbox/tasks/${view.id}`);
      },
    },
    getTask: task(async (id, state, { query, signal }) => {
      const { waitSeconds } = query as z.output<typeof waitQuery>;
      return { status: 200, body: viewOf(id, waitSeconds === 0 ? state : await tasks.wait(id, waitSeconds * 1000, signal)) };
    }),
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
    return await tasks.wait(id, waitMs, signal);
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
