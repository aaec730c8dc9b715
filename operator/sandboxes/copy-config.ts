import { effectiveResources, type EffectiveResources, type ResourceAmounts, type SandboxSpec } from '../../crds/index.ts';
import type { Amounts, CopyConfig } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { sha256Hex } from '../../process/digest.ts';
import { secretReferences } from './secret-environment.ts';

/** The part of a Sandbox's spec that makes its container, with every default applied, and its hash. */
export function copyConfigOf(spec: SandboxSpec): CopyConfig {
  const resources = effectiveResources(spec);
  const { requests, limits } = resources;
  const { runAsUser, runAsGroup } = spec.securityContext ?? {};
  return {
    image: spec.image,
    imagePullPolicy: spec.imagePullPolicy,
    command: [...(spec.command ?? [])],
    args: [...(spec.args ?? [])],
    env: (spec.env ?? []).filter(({ valueFrom }) => valueFrom === undefined).map(({ name, value }) => ({ name, value: value ?? '' })),
    workingDir: spec.workingDir ?? '',
    ...(runAsUser !== undefined && { runAsUser }),
    ...(runAsGroup !== undefined && { runAsGroup }),
    requests: wireAmounts(requests),
    limits: wireAmounts(limits),
    pidsLimit: limits.pids,
    hash: hashOf(spec, resources),
  };
}

/** The limits of a sandbox that asks for none, as the hash counts them: it does not change when a default of the API does. */
const usualLimits = { cpuMillis: 1000, memoryBytes: 512 * 2 ** 20, diskBytes: 4 * 2 ** 30, pids: 512 };

/**
 * Names the container that a spec asks for, across versions of Berth: while a sandbox runs, another hash says that it has to be restarted.
 * So it is made only of what differs from the usual, in an order of its own. A new field goes to the end, with what it is where nobody sets
 * it. What does not make the container (imagePullPolicy) is not in it.
 */
function hashOf(spec: SandboxSpec, { requests, limits }: EffectiveResources): string {
  const { command = [], args = [], env = [], workingDir = '', securityContext } = spec;
  const usualRequests = effectiveResources({ resources: { limits: spec.resources.limits } }).requests;
  const fields: readonly (readonly [name: string, value: unknown, usual: unknown])[] = [
    ['image', spec.image, ''],
    ['command', command, []],
    ['args', args, []],
    ['env', env.filter(({ valueFrom }) => valueFrom === undefined).map(({ name, value = '' }) => [name, value]), []],
    ['workingDir', workingDir, ''],
    ['runAsUser', securityContext?.runAsUser, undefined],
    ['runAsGroup', securityContext?.runAsGroup, undefined],
    ['requests.cpuMillis', requests.cpuMillis, usualRequests.cpuMillis],
    ['requests.memoryBytes', requests.memoryBytes, usualRequests.memoryBytes],
    ['requests.diskBytes', requests.diskBytes, usualRequests.diskBytes],
    ['limits.cpuMillis', limits.cpuMillis, usualLimits.cpuMillis],
    ['limits.memoryBytes', limits.memoryBytes, usualLimits.memoryBytes],
    ['limits.diskBytes', limits.diskBytes, usualLimits.diskBytes],
    ['limits.pids', limits.pids, usualLimits.pids],
    // The references and not the values: a hash that is stored may not let anybody try guesses at a secret.
    ['env.secrets', secretReferences(spec).map(({ variable, secret, key, isOptional }) => [variable, secret, key, isOptional]), []],
  ];
  const unusual = fields.filter(([, value, usual]) => JSON.stringify(value) !== JSON.stringify(usual));
  return sha256Hex(JSON.stringify(unusual.map(([name, value]) => [name, value])));
}

function wireAmounts({ cpuMillis, memoryBytes, diskBytes }: ResourceAmounts): Amounts {
  return { cpuMillis: cpuMillis, memoryBytes, diskBytes };
}
