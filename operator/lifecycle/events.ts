import type { SandboxReason, SandboxStatus } from '../../crds/index.ts';
import type { SandboxEvent } from './decision.ts';
import { reasonOf } from './blame.ts';

/** What is told with `kubectl describe` about the step from one status to the next: one Event for each transition. */
export function eventsOf(before: SandboxStatus, next: SandboxStatus): readonly SandboxEvent[] {
  const isStep = before.state !== next.state || before.reason !== next.reason || before.contentVersion < next.contentVersion;
  if (!isStep) return [];
  const reason: SandboxReason = reasonOf(next.reason ?? next.state);
  return [{ type: isWarning(next, reason) ? 'Warning' : 'Normal', reason, action: actions[next.state], note: next.message ?? '' }];
}

const calm: ReadonlySet<SandboxReason> = new Set(['Stopped', 'Completed']);

function isWarning({ state }: SandboxStatus, reason: SandboxReason): boolean {
  if (reason === 'BackupRunning') return false;
  return reason === 'RunnerLost' || state === 'Error' || state === 'Pending' || (state === 'Stopped' && !calm.has(reason));
}

const actions: Readonly<Record<SandboxStatus['state'], string>> = {
  Pending: 'Place',
  Creating: 'Create',
  Restoring: 'Restore',
  Starting: 'Start',
  Started: 'Start',
  Stopping: 'Stop',
  Stopped: 'Stop',
  Archiving: 'Archive',
  Archived: 'Archive',
  Deleting: 'Delete',
  Error: 'Retry',
};
