import type { Condition, SandboxReason, SandboxStatus } from '../../crds/index.ts';
import { setCondition } from '../../kube/conditions.ts';
import { isLost } from '../assignment/runner-view.ts';
import type { SandboxSnapshot } from './snapshot.ts';

type Claim = Pick<Condition, 'type' | 'status' | 'message'> & { readonly reason: SandboxReason };

/** What the operator claims about the sandbox, beside conditions that others may have written. */
export function conditionsOf(status: SandboxStatus, { sandbox, now }: SandboxSnapshot): readonly Condition[] {
  const observedGeneration = sandbox.metadata.generation;
  const claims = [ready(status), assigned(status), backedUp()];
  return claims.reduce<readonly Condition[]>(
    (all, claim) => setCondition(all, { ...claim, observedGeneration }, now.wall),
    status.conditions,
  );
}

/** Reason and message of a started sandbox: whether anybody sees it, and whether what runs is what the spec says. */
export function startedClaim({ runnerName = '', assignment }: SandboxStatus, { runner, configHash }: SandboxSnapshot): StartedClaim {
  if (isLost(runner)) {
    const unseen = `The runner ${runnerName} is lost, so that nobody knows whether the main program runs.`;
    return { reason: 'RunnerLost', message: `${unseen} It is waited for: no current backup allows to start it elsewhere.` };
  }
  const runs = `The main program runs on ${runnerName}.`;
  return assignment?.configHash === configHash
    ? { reason: 'Started', message: runs }
    : { reason: 'RestartRequired', message: `${runs} The spec was changed since it was started: that takes effect at its next start.` };
}

interface StartedClaim {
  readonly reason: 'Started' | 'RestartRequired' | 'RunnerLost';
  readonly message: string;
}

function ready({ state, reason, message = '' }: SandboxStatus): Claim {
  if (state !== 'Started') return { type: 'Ready', status: 'False', reason: (reason ?? 'Stopped') as SandboxReason, message };
  if (reason === 'RunnerLost') return { type: 'Ready', status: 'Unknown', reason, message };
  return { type: 'Ready', status: 'True', reason: 'Started', message };
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
