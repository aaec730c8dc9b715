import type { Condition, SandboxReason, SandboxStatus } from '../../crds/index.ts';
import type { SandboxSnapshot } from './snapshot.ts';
import { pastTime } from './time.ts';

type Claim = Pick<Condition, 'type' | 'status' | 'message'> & { readonly reason: SandboxReason };

/** What the operator claims about the sandbox, beside conditions that others may have written. */
export function conditionsOf(status: SandboxStatus, world: SandboxSnapshot): readonly Condition[] {
  const claims = [ready(status, world), assigned(status), backedUp()];
  const others = status.conditions.filter(({ type }) => claims.every((claim) => claim.type !== type));
  const now = pastTime(world.now.wall);
  return [...claims.map((claim) => stamped(claim, status.conditions, world.sandbox.metadata.generation, now)), ...others];
}

/** The message of a started sandbox: whether what runs is what the spec says. */
export function startedMessage({ runnerName, assignment }: SandboxStatus, { configHash }: SandboxSnapshot): string {
  const runs = `The main program runs on ${runnerName ?? ''}.`;
  return assignment?.configHash === configHash ? runs : `${runs} The spec was changed since it was started: that takes effect at its next start.`;
}

function ready(status: SandboxStatus, world: SandboxSnapshot): Claim {
  const { state, reason, message } = status;
  if (state !== 'Started') return { type: 'Ready', status: 'False', reason: (reason ?? 'Stopped') as SandboxReason, message: message ?? '' };
  if (world.runner?.isReady === true || world.runner?.agent !== undefined) {
    return { type: 'Ready', status: 'True', reason: 'Started', message: message ?? '' };
  }
  const unseen = `The runner ${status.runnerName ?? ''} does not report, so that nobody knows whether the main program runs.`;
  return { type: 'Ready', status: 'Unknown', reason: 'NotObserved', message: unseen };
}

function assigned({ runnerName, assignment, reason, state }: SandboxStatus): Claim {
  if (runnerName !== undefined && assignment !== undefined) {
    return { type: 'Assigned', status: 'True', reason: assignment.reason as SandboxReason, message: `The sandbox is on ${runnerName}.` };
  }
  const why = state === 'Stopped' ? 'Stopped' : ((reason ?? 'NoRunnerAvailable') as SandboxReason);
  return { type: 'Assigned', status: 'False', reason: why, message: 'The sandbox was not placed on a runner yet.' };
}

function backedUp(): Claim {
  return { type: 'BackedUp', status: 'False', reason: 'NoBackup', message: 'There is no backup of the sandbox.' };
}

/** The time is that of the last change of `status`. */
function stamped(claim: Claim, before: readonly Condition[], observedGeneration: number, now: string): Condition {
  const old = before.find(({ type }) => type === claim.type);
  const lastTransitionTime = old?.status === claim.status ? old.lastTransitionTime : now;
  return { ...claim, lastTransitionTime, observedGeneration };
}
