import { setTimeout as delay } from 'node:timers/promises';
import { BerthError } from '../../process/errors.ts';
import type { KubeApi } from './kube-api.ts';

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
}

interface Status {
  readonly agentID?: string;
  readonly conditions?: readonly Condition[];
}

/** Why a runner takes no sandboxes although nobody has said that it should not. */
const notYet = ['NotReady', 'NotConnected'];

/** Waits until the operators see every runner ready and connected; a cordoned one counts. @throws BerthError `RunnerNotConnected`. */
export async function waitConnected(api: KubeApi, runners: readonly string[], timeoutMs = 60_000): Promise<void> {
  const refuse = (name: string, { conditions = [] }: Status) => notConnected(name, conditions, timeoutMs);
  await waitForAll(api, runners, { timeoutMs, isMet: ({ conditions = [] }) => isConnected(conditions), refuse });
}

/** Waits until every agent has written its Runner: that needs no operator. @throws BerthError `RunnerNotRegistered`. */
export async function waitRegistered(api: KubeApi, runners: readonly string[], timeoutMs = 60_000): Promise<void> {
  const refuse = (name: string) =>
    new BerthError('RunnerNotRegistered', `The agent of ${name} has not written its Runner after ${timeoutMs / 1000} s.`);
  await waitForAll(api, runners, { timeoutMs, isMet: ({ agentID }) => agentID !== undefined, refuse });
}

interface Awaited {
  readonly timeoutMs: number;
  readonly isMet: (status: Status) => boolean;
  readonly refuse: (name: string, status: Status) => BerthError;
}

async function waitForAll(api: KubeApi, runners: readonly string[], { timeoutMs, isMet, refuse }: Awaited): Promise<void> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const seen = await Promise.all(runners.map((name) => statusOf(api, name)));
    const missing = runners.findIndex((_, index) => !isMet(seen[index] ?? {}));
    if (missing === -1) return;
    if (performance.now() > end) throw refuse(runners[missing] ?? '', seen[missing] ?? {});
    await delay(50);
  }
}

function isConnected(conditions: readonly Condition[]): boolean {
  const schedulable = conditions.find(({ type }) => type === 'Schedulable');
  const ready = conditions.find(({ type }) => type === 'Ready');
  return ready?.status === 'True' && schedulable !== undefined && !notYet.includes(schedulable.reason ?? '');
}

async function statusOf(api: KubeApi, name: string): Promise<Status> {
  const { body } = await api.get({ apiVersion: 'berth.dev/v1alpha1', kind: 'Runner', metadata: { name } });
  return body.status ?? {};
}

function notConnected(name: string, conditions: readonly Condition[], timeoutMs: number): BerthError {
  const shown = conditions.map(({ type, status, reason }) => `${type}=${status}${reason === undefined ? '' : ` (${reason})`}`).join(', ');
  const summary = `The operator does not see ${name} connected after ${timeoutMs / 1000} s (${shown === '' ? 'its Runner has no conditions' : shown})`;
  return new BerthError('RunnerNotConnected', `${summary}.`, { details: { summary } });
}
