import { effectiveResources, type ResourceAmounts, type SandboxSpec } from '../../crds/index.ts';
import type { Amounts, CopyConfig } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { sha256Hex } from '../../process/digest.ts';
import { secretReferences } from './secret-environment.ts';

/** The part of a Sandbox's spec that makes its container, with every default applied, and its hash. */
export function copyConfigOf(spec: SandboxSpec): CopyConfig {
  const { requests, limits } = effectiveResources(spec);
  const { runAsUser, runAsGroup } = spec.securityContext ?? {};
  const config: Omit<CopyConfig, 'hash'> = {
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
  };
  // The references and not the values: a hash that is stored may not let anybody try guesses at a secret.
  const references = secretReferences(spec);
  const hashed = references.length === 0 ? config : { ...config, references };
  return { ...config, hash: sha256Hex(JSON.stringify(hashed)) };
}

function wireAmounts({ cpuMillis, memoryBytes, diskBytes }: ResourceAmounts): Amounts {
  return { cpuMillis: cpuMillis, memoryBytes, diskBytes };
}
