import { NOTHING } from '../../crds/resources.ts';
import type { Share } from './capacity.ts';
import { copyStep } from './next-step.ts';
import { isAlive, taskOf } from './view.ts';
import type { CopyView, SandboxView } from './view.ts';

/** What a copy takes of the runner: all of it while it runs, is ready to or is on the way there, else its disk only. */
export function shareOf(sandbox: SandboxView, copy: CopyView): Share {
  const wish = copy.wish ?? copy.ahead;
  const { kind } = copyStep(sandbox, copy);
  const isOnTheWay = kind === 'Prepare' || kind === 'RecordStart' || kind === 'Start' || kind === 'AwaitOrder';
  return {
    requests: (isOnTheWay ? wish?.config.requests : undefined) ?? copy.observed?.requests ?? wish?.config.requests ?? NOTHING,
    isActive: isOnTheWay || isAlive(copy) || taskOf(copy).state === 'Created',
  };
}
