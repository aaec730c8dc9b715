import { API_GROUP, API_GROUP_VERSION, API_VERSION, RUNNER_KIND, SANDBOX_KIND, runnerSchema, sandboxSchema } from '../../../crds/index.ts';
import type { Runner, Sandbox } from '../../../crds/index.ts';
import type { Manifest, Resource } from '../../../kube/types.ts';
import type { Shape } from '../plan.ts';
import type { ApiStore, Schema, StoredObject } from './api-store.ts';

export const sandboxes: Resource = {
  group: API_GROUP,
  version: API_VERSION,
  plural: SANDBOX_KIND.plural,
  kind: SANDBOX_KIND.kind,
  namespaced: true,
};
export const runners: Resource = {
  group: API_GROUP,
  version: API_VERSION,
  plural: RUNNER_KIND.plural,
  kind: RUNNER_KIND.kind,
  namespaced: false,
};
export const leases: Resource = { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', kind: 'Lease', namespaced: true };

/** Installs the CRDs: what they default, refuse and prune. */
export function installSchemas(store: ApiStore): void {
  store.install(
    sandboxes,
    schemaOf((value) => sandboxSchema.parse(value)),
  );
  store.install(
    runners,
    schemaOf((value) => runnerSchema.parse(value)),
  );
}

function schemaOf(parse: (value: unknown) => StoredObject): Schema {
  return {
    hasStatus: true,
    admit: (object, old) => {
      const { spec, status } = parse(object);
      return {
        ...object,
        ...(object.spec === old?.spec && old !== undefined ? { spec: old.spec } : { spec }),
        ...(object.status === undefined ? {} : { status }),
      } as StoredObject;
    },
  };
}

const parsed = new WeakMap<StoredObject, Sandbox | Runner>();

/** A stored object with every default applied. */
export function asSandbox(object: StoredObject): Sandbox {
  return once(object, (value) => sandboxSchema.parse(value));
}

export function asRunner(object: StoredObject): Runner {
  return once(object, (value) => runnerSchema.parse(value));
}

function once<T extends Sandbox | Runner>(object: StoredObject, parse: (value: StoredObject) => T): T {
  const known = parsed.get(object) as T | undefined;
  if (known !== undefined) return known;
  const value = parse(object);
  parsed.set(object, value);
  return value;
}

/** Where the sandbox of a slot lives: two namespaces with the same names. */
export function placeOf(slot: number): { readonly namespace: string; readonly name: string } {
  return { namespace: slot % 2 === 0 ? 'team-a' : 'team-b', name: `sandbox-${Math.floor(slot / 2)}` };
}

export function manifestOf(slot: number, shape: Shape): Manifest & { readonly spec: object } {
  return { apiVersion: API_GROUP_VERSION, kind: SANDBOX_KIND.kind, metadata: placeOf(slot), spec: specOf(shape) };
}

export function specOf(shape: Shape): object {
  return {
    desiredState: shape.desiredState,
    image: `registry.local/${shape.image}:1`,
    command: commandOf(shape),
    restartPolicy: shape.restartPolicy,
    resources: { limits: { memory: `${shape.memoryMi}Mi` } },
    terminationGracePeriodSeconds: 5,
  };
}

/** The modelled machine reads its behaviour from the command. */
export function commandOf({ program, runMs, exitCode }: Shape): string[] {
  return program === 'job' ? [program, String(runMs), String(exitCode)] : [program];
}
