import { API_GROUP_VERSION, RUNNER_KIND, type Removal, type Runner } from '../../crds/index.ts';
import type { Client } from '../../kube/client.ts';
import { isKubeError } from '../../kube/errors.ts';
import type { EventRecorder } from '../../kube/types.ts';
import { forgottenNote, withRemoval, type NotedRemovals } from './removals.ts';

/** Owns status.removals and nothing else. */
const fieldManager = 'berth-operator-removals';

export interface RemovalPorts {
  readonly runners: Client<Runner>;
  readonly events: EventRecorder;
}

/** Replaces the list and tells of what was forgotten, if the Runner has not changed since it was read: else rejects with Conflict. */
export async function applyRemovals({ runners, events }: RemovalPorts, runner: Runner, noted: NotedRemovals): Promise<void> {
  const { removals, forgotten } = noted;
  const { name, resourceVersion } = runner.metadata;
  const body = { apiVersion: API_GROUP_VERSION, kind: RUNNER_KIND.kind, metadata: { name, resourceVersion }, status: { removals } };
  await runners.apply(body, { fieldManager, subresource: 'status' });
  if (forgotten.length === 0) return;
  events.record({ regarding: runner, type: 'Warning', reason: 'RemovalsForgotten', action: 'Remove', note: forgottenNote(forgotten) });
}

/** Notes a copy that is to be removed when its runner is back. A Runner that is gone notes nothing: then nobody can remove it. */
export async function noteRemoval(ports: RemovalPorts, runnerName: string, removal: Removal): Promise<void> {
  try {
    const runner = await ports.runners.get({ name: runnerName });
    const noted = withRemoval(runner.status, removal);
    if (noted.removals !== runner.status.removals) await applyRemovals(ports, runner, noted);
  } catch (error) {
    if (!isKubeError(error, 'NotFound')) throw error;
  }
}
