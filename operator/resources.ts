import { API_GROUP, API_VERSION, RUNNER_KIND, SANDBOX_KIND, parseRunner, parseSandbox, sandboxSpecSchema } from '../crds/index.ts';
import type { ResourceKind, Runner, Sandbox } from '../crds/index.ts';
import type { KubeObject, Resource } from '../kube/types.ts';
import { BerthError } from '../process/errors.ts';

/** The kinds as the API server serves them, and how their objects are read where they enter a cache. */

export const sandboxResource = resourceOf(SANDBOX_KIND);
export const runnerResource = resourceOf(RUNNER_KIND);

/**
 * A Sandbox as stored. One whose spec this version can not read is left alone, except that it can be deleted: for that its metadata and
 * status are enough. Throws `Unreadable`.
 */
export function readSandbox(raw: KubeObject): Sandbox {
  const parsed = parseSandbox(raw);
  if (parsed.ok) return parsed.value;
  const { metadata, status, message } = parsed;
  if (metadata?.deletionTimestamp === undefined || status === undefined) throw new BerthError('Unreadable', message);
  return { apiVersion: 'berth.dev/v1alpha1', kind: 'Sandbox', metadata, spec: emptySpec, status };
}

/** A Runner as stored. Throws `Unreadable`. */
export function readRunner(raw: KubeObject): Runner {
  const parsed = parseRunner(raw);
  if (parsed.ok) return parsed.value;
  throw new BerthError('Unreadable', parsed.message);
}

/** A Node, as far as it says whether its machine is off. */
export interface NodeTaints extends KubeObject {
  readonly taints: readonly string[];
}

export const nodeResource: Resource = { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false };

export function readNode({ apiVersion, kind, metadata, ...rest }: KubeObject & { readonly spec?: unknown }): NodeTaints {
  const { taints = [] } = (rest.spec ?? {}) as { readonly taints?: readonly { readonly key: string }[] };
  const { name, uid, resourceVersion } = metadata;
  return { apiVersion, kind, metadata: { name, uid, resourceVersion }, taints: taints.map(({ key }) => key) };
}

/** Stands in for a spec that can not be read while its object is deleted: nothing of it is used but the grace period. */
const emptySpec = sandboxSpecSchema.parse({ image: 'unreadable', desiredState: 'Stopped' });

function resourceOf({ plural, kind, namespaced }: ResourceKind): Resource {
  return { group: API_GROUP, version: API_VERSION, plural, kind, namespaced };
}
