import type { z } from 'zod';
import type { statusSchema, taskSchema } from '../../operator/tasks/schemas.ts';
import type { Operator } from '../harness/operator.ts';
import type { Caller, CurlAnswer } from './caller.ts';
import { eventually } from './eventually.ts';

/** A task as the API answers it. */
export type SeenTask = z.output<typeof taskSchema>;
export type SeenFleet = z.output<typeof statusSchema>;

/** The code of an answer that is no success. */
export function codeOf({ body }: CurlAnswer): string | undefined {
  return (body as { readonly error?: { readonly code?: string } }).error?.code;
}

/** @throws Error when it is no success. */
export function taskOf(answer: CurlAnswer): SeenTask {
  if (answer.status !== 200 && answer.status !== 201) throw new Error(`no task: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body as SeenTask;
}

/** Of a task or a reservation. @throws Error when it is no success. */
export function idOf(answer: CurlAnswer | undefined): string {
  if (answer === undefined) throw new Error('there is no answer');
  return taskOf(answer).id;
}

/** The task at its end. */
export async function endedTask(caller: Caller, operator: Operator, answer: CurlAnswer): Promise<SeenTask> {
  const task = taskOf(answer);
  return task.phase === 'Ended' ? task : taskOf(await caller.curl(operator, `/sandbox/tasks/${task.id}?waitSeconds=60`));
}

export async function fleetOf(caller: Caller, operator: Operator): Promise<SeenFleet> {
  const { status, body } = await caller.curl(operator, '/sandbox/status');
  if (status !== 200) throw new Error(`no status: ${JSON.stringify(body)}`);
  return body as SeenFleet;
}

type Sums = Partial<Pick<SeenFleet['fleet'], 'slots' | 'used' | 'reserved' | 'free' | 'queued'>>;

/** Resolves when every one of the pods sees all of the fleet, and these sums in it. */
export async function sumOfSlots(caller: Caller, operators: readonly Operator[], sums: Sums): Promise<void> {
  const last: { seen: readonly SeenFleet[] } = { seen: [] };
  await eventually(
    `every pod says ${JSON.stringify(sums)}`,
    async () => {
      last.seen = await Promise.all(operators.map((operator) => fleetOf(caller, operator)));
      const isSo = ({ complete, fleet }: SeenFleet) =>
        complete && (Object.keys(sums) as (keyof Sums)[]).every((key) => fleet[key] === sums[key]);
      return last.seen.every(isSo) ? true : undefined;
    },
    () => last.seen.map(({ operator, complete, missing, fleet }) => ({ ...{ operator, complete, missing }, fleet })),
  );
}
