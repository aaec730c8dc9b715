import { effectiveResources, type ResourceAmounts, type Sandbox, type SandboxSpec, type SandboxStatus } from '../../crds/index.ts';
import { takenBy } from '../../crds/resources.ts';

/** What one sandbox takes of one runner. */
export interface Claim {
  readonly runnerName: string;
  readonly amounts: ResourceAmounts;
  /** It runs or may run soon. */
  readonly isStarted: boolean;
}

/** What a sandbox takes by its status; undefined when nothing of it lies on a runner. */
export function claimOf({ spec, status }: { readonly spec: SandboxSpec; readonly status: Sandbox['status'] }): Claim | undefined {
  const { runnerName, contentVersion } = status;
  const mayRun = mayBeRunning(status);
  if (runnerName === undefined || (!mayRun && contentVersion === 0)) return undefined;
  return { runnerName, amounts: takenBy(effectiveResources(spec).requests, mayRun), isStarted: mayRun };
}

function mayBeRunning({ state, reason, contentVersion }: SandboxStatus): boolean {
  switch (state) {
    case 'Creating':
    case 'Restoring':
    case 'Starting':
    case 'Started':
    case 'Stopping':
      return true;
    case 'Error':
      // After every other failure it is proven that nothing runs.
      return contentVersion > 0 && reason === 'DeadlineExceeded';
    case 'Deleting':
      // Not proven to have ended.
      return contentVersion > 0;
    default:
      return false;
  }
}
