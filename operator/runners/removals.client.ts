import { API_GROUP_VERSION, RUNNER_KIND, type Removal, type Runner } from '../../crds/index.ts';
import type { Client } from '../../kube/client.ts';
import { isKubeError } from '../../kube/errors.ts';
import { withRemoval } from './removals.ts';

/** Owns status.removals and nothing else. */
const fieldManager = 'berth-operator-removals';

/** Replaces the list, if the Runner has not changed since it was read: else rejects with Conflict. */
export async function applyRemovals(client: Client<Runner>, { metadata }: Runner, removals: readonly Removal[]): Promise<Runner> {
  const { name, resourceVersion } = metadata;
  const body = { apiVersion: API_GROUP_VERSION, kind: RUNNER_KIND.kind, metadata: { name, resourceVersion }, status: { removals } };
  return client.apply(body, { fieldManager, subresource: 'status' });
}

/** Notes a copy that is to be removed when its runner is back. A Runner that is gone notes nothing: then nobody can remove it. */
export async function noteRemoval(client: Client<Runner>, runnerName: string, removal: Removal): Promise<void> {
  try {
    const runner = await client.get({ name: runnerName });
    const removals = withRemoval(runner.status.removals, removal);
    if (removals !== runner.status.removals) await applyRemovals(client, runner, removals);
  } catch (error) {
    if (!isKubeError(error, 'NotFound')) throw error;
  }
}
