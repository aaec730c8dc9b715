import type { Condition, SandboxReason, SandboxStatus } from '../../crds/index.ts';
import { setCondition } from '../../kube/conditions.ts';
import { isLost } from '../assignment/runner-view.ts';
import { currentBackup, historyOf, isUsable, newestUsable } from '../backups/current.ts';
import type { SandboxSnapshot } from './snapshot.ts';

type Claim = Pick<Condition, 'type' | 'status' | 'message'> & { readonly reason: SandboxReason };

/** What the operator claims about the sandbox, beside conditions that others may have written. */
export function conditionsOf(status: SandboxStatus, world: SandboxSnapshot): readonly Condition[] {
  const { sandbox, now } = world;
  const observedGeneration = sandbox.metadata.generation;
  const claims = [ready(status), assigned(status), backedUp(status, world)];
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
  return (assignment?.runningConfigHash ?? assignment?.configHash) === configHash
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

function assigned({ runnerName, assignment, reason, state, contentVersion }: SandboxStatus): Claim {
  if (runnerName !== undefined && assignment !== undefined) {
    return { type: 'Assigned', status: 'True', reason: assignment.reason as SandboxReason, message: `The sandbox is on ${runnerName}.` };
  }
  const why = state === 'Stopped' ? 'Stopped' : ((reason ?? 'NoRunnerAvailable') as SandboxReason);
  const message = contentVersion > 0 ? 'No runner has the files of the sandbox.' : 'The sandbox was not placed on a runner yet.';
  return { type: 'Assigned', status: 'False', reason: why, message };
}

/** Whether a verified backup holds the content as it is, and else what there is and what is being done for it. */
export function backedUp(status: SandboxStatus, world: Pick<SandboxSnapshot, 'sandbox' | 'backups'>): Claim {
  const current = currentBackup(status);
  if (current !== undefined) {
    return {
      type: 'BackedUp',
      status: 'True',
      reason: 'BackupCurrent',
      message: `The backup ${current.digest} holds the files as they are.`,
    };
  }
  return { type: 'BackedUp', status: 'False', ...notBackedUp(status, world) };
}

function notBackedUp(status: SandboxStatus, world: Pick<SandboxSnapshot, 'sandbox' | 'backups'>): Pick<Claim, 'reason' | 'message'> {
  const operation = status.backup?.operation;
  if (operation?.state === 'Running') {
    const trouble = operation.message === undefined ? '' : ` ${operation.message}`;
    return { reason: 'BackupRunning', message: `Backup ${operation.id} is being made.${trouble}` };
  }
  if (operation?.state === 'Pending')
    return { reason: 'BackupFailed', message: `${operation.message ?? ''} It is tried again.`.trimStart() };
  if (isNotConfigured(status, world)) {
    return { reason: 'BackupsNotConfigured', message: 'The operator has no repository for backups: nothing is backed up.' };
  }
  const last = historyOf(status).findLast(({ deletionTime }) => deletionTime === undefined);
  if (last !== undefined && !isUsable(last)) {
    return { reason: 'BackupUnverified', message: `The backup ${last.digest} could not be verified: it is not relied on.` };
  }
  const newest = newestUsable(status);
  if (newest === undefined) return { reason: 'NoBackup', message: 'There is no backup of the sandbox.' };
  return { reason: 'BackupOutdated', message: `The files may have changed since the backup ${newest.digest} of ${newest.completionTime}.` };
}

/** Said when a backup would be made if it could be. */
function isNotConfigured(status: SandboxStatus, { sandbox: { spec }, backups }: Pick<SandboxSnapshot, 'sandbox' | 'backups'>): boolean {
  if (backups.repository !== undefined || spec.backup.policy === 'Never' || status.contentVersion === 0) return false;
  const isAsked = spec.backup.requestID !== undefined && spec.backup.requestID !== status.backup?.requestID;
  return isAsked || (status.state === 'Stopped' && spec.backup.policy !== 'Manual');
}
