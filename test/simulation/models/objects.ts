import {
  API_GROUP,
  API_GROUP_VERSION,
  API_VERSION,
  RUNNER_KIND,
  SANDBOX_KIND,
  runnerSpecSchema,
  runnerStatusSchema,
  sandboxSpecSchema,
  sandboxStatusSchema,
} from '../../../crds/index.ts';
import type { Runner, Sandbox } from '../../../crds/index.ts';
import type { Manifest, Resource } from '../../../kube/types.ts';
import type { Shape } from '../plan.ts';
import type { ApiStore, Schema, StoredObject } from './api-store.ts';
import type { JsonObject } from './json.ts';
import { asAdmitted, parseOnce } from './parsing.ts';

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
  parseOnce();
  store.install(sandboxes, schemaOf(sandboxSpecSchema, sandboxStatusSchema));
  store.install(runners, schemaOf(runnerSpecSchema, runnerStatusSchema));
}

interface Parser {
  parse(value: unknown): object;
}

interface StatusParser extends Parser {
  readonly shape: Readonly<Record<string, { parse(value: unknown): unknown }>>;
}

/** Only what was written is looked at again. */
function schemaOf(specSchema: Parser, statusSchema: StatusParser): Schema {
  return {
    hasStatus: true,
    admit: (object, old) => {
      const isNew = (part: 'spec' | 'status') => old === undefined || object[part] !== old[part];
      return {
        ...object,
        ...(isNew('spec') ? { spec: asAdmitted(specSchema.parse(object.spec ?? {})) as JsonObject } : {}),
        ...(object.status !== undefined && isNew('status')
          ? { status: asAdmitted(statusOf(statusSchema, object.status, old?.status)) }
          : {}),
      };
    },
  };
}

/** A status has no rules that span its members: each is read by itself, and one that was taken over as it was need not be. */
function statusOf(schema: StatusParser, next: JsonObject, old: JsonObject | undefined): JsonObject {
  if (old === undefined) return schema.parse(next) as JsonObject;
  const members = Object.entries(schema.shape).map(([key, member]) => {
    const value = next[key];
    return [key, value !== undefined && value === old[key] ? value : member.parse(value)] as const;
  });
  return Object.fromEntries(members.filter(([, value]) => value !== undefined));
}

const noSandboxStatus = sandboxStatusSchema.parse({});
const noRunnerStatus = runnerStatusSchema.parse({});

/** A stored object, which was parsed when it was written, with a status also before it has one. */
export function asSandbox(object: StoredObject): Sandbox {
  return { status: noSandboxStatus, ...object } as unknown as Sandbox;
}

export function asRunner(object: StoredObject): Runner {
  return { status: noRunnerStatus, ...object } as unknown as Runner;
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
    backup: backupOf(shape),
  };
}

export function backupOf({ backup, retain, reclaim }: Shape): object {
  return { policy: backup, retain, reclaimPolicy: reclaim, intervalSeconds: 300 };
}

/** The modelled machine reads its behaviour from the command. */
export function commandOf({ program, runMs, exitCode }: Shape): string[] {
  return program === 'job' ? [program, String(runMs), String(exitCode)] : [program];
}
