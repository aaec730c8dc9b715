import { randomUUID } from 'node:crypto';
import type { Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { parseSandbox, sandboxSpecSchema, type SandboxManifest } from '../../crds/index.ts';
import { ordersOf } from '../../operator/lifecycle/orders.ts';
import { copyConfigOf } from '../../operator/sandboxes/copy-config.ts';
import { wireOrder } from '../../operator/sandboxes/wire.ts';

/** The Sandboxes are spread over so many namespaces. */
export const namespaces = 10;

/** The part of a stored Sandbox that differs from one to the next. */
export interface StoredSandbox {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly spec: SandboxManifest['spec'];
  readonly status: {
    readonly runnerName: string;
    readonly message?: string;
    readonly assignment: object;
    readonly conditions: readonly { readonly message: string }[];
  };
}

export interface RunnerObject {
  readonly metadata: { readonly name: string };
  readonly status: { readonly storeID: string; readonly bootID: string };
}

type Applied = SandboxManifest & { readonly metadata: { readonly name: string; readonly namespace: string } };

export function teamOf(number: number): string {
  return `team-${(number % namespaces) + 1}`;
}

/** As people apply them: with labels, some environment, and what `kubectl apply` adds. */
export function sandboxOf(number: number): Applied {
  const metadata = {
    name: `workspace-${String(number).padStart(5, '0')}`,
    namespace: teamOf(number),
    labels: { 'app.kubernetes.io/name': 'workspace', 'app.kubernetes.io/managed-by': 'benchmark', owner: `user-${number % 500}` },
  };
  const object = {
    apiVersion: 'berth.dev/v1alpha1' as const,
    kind: 'Sandbox' as const,
    metadata,
    spec: {
      image: 'registry.example.com/workspaces/python:3.12',
      command: ['/usr/bin/tini', '--', 'python', '-m', 'workspace'],
      env: [
        { name: 'WORKSPACE', value: `workspace-${number}` },
        { name: 'LOG_LEVEL', value: 'info' },
        { name: 'PORT', value: '8080' },
      ],
      resources: { limits: { cpu: '1', memory: '512Mi', disk: '4Gi' } },
    },
  };
  const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': `${JSON.stringify(object)}\n` };
  return { ...object, metadata: { ...metadata, annotations } };
}

/** Where etcd has a Sandbox. */
export function keyOf({
  metadata: { namespace, name },
}: {
  readonly metadata: Pick<StoredSandbox['metadata'], 'namespace' | 'name'>;
}): string {
  return `/registry/berth.dev/sandboxes/${namespace}/${name}`;
}

/** What `stored` would be if it had been applied as `applied` and started on this runner. */
export function like(stored: StoredSandbox, applied: Applied, runner: RunnerObject | undefined): StoredSandbox {
  if (runner === undefined) throw new Error('there is no runner');
  const { name } = runner.metadata;
  const { storeID, bootID } = runner.status;
  const spec = { ...stored.spec, ...applied.spec, resources: stored.spec.resources };
  const rename = (text: string) => text.replaceAll(stored.status.runnerName, name);
  const { message } = stored.status;
  return {
    ...stored,
    metadata: { ...stored.metadata, ...applied.metadata, uid: randomUUID() },
    spec,
    status: {
      ...stored.status,
      ...(message === undefined ? {} : { message: rename(message) }),
      runnerName: name,
      assignment: { ...stored.status.assignment, storeID, bootID, configHash: copyConfigOf(sandboxSpecSchema.parse(spec)).hash },
      conditions: stored.status.conditions.map((condition) => ({ ...condition, message: rename(condition.message) })),
    },
  };
}

/** The orders that a leader sends for a stored Sandbox, with the name of the runner. */
export function ordersFor(stored: StoredSandbox): readonly (readonly [runnerName: string, order: Order])[] {
  const parsed = parseSandbox({ ...stored, metadata: { ...stored.metadata, resourceVersion: '1' } });
  if (!parsed.ok) throw new Error(`what was stored cannot be read: ${parsed.message}`);
  const sandbox = parsed.value;
  return ordersOf(sandbox).flatMap((order) => {
    const message = wireOrder(sandbox, order, copyConfigOf(sandbox.spec), { credentials: [], secretEnv: [] });
    return message === undefined ? [] : [[order.runnerName, message] as const];
  });
}
