import { expect, it } from '@jest/globals';
import { sandboxStatusSchema, type SandboxStatus } from '../../crds/index.ts';
import { at, testTime } from '../../test/builders/a-sandbox.ts';
import { samplesOf, type Sample } from './samples.ts';

const digest = `sha256:${'1'.repeat(64)}`;
const record = { digest, repository: 'r.test/a', contentVersion: 3, takenWhile: 'Stopped', sizeBytes: 700, completionTime: at(-5_000) };
const original = { runnerName: 'r1', storeID: 'store-1', epoch: 4, contentVersion: 3 };

const status = (fields: object): SandboxStatus => sandboxStatusSchema.parse({ backup: { history: [record] }, ...fields });
const assigned = (epoch: number, phase: 'Prepared' | 'Committed', kind: 'Backup' | 'Local', fields: object = {}) => ({
  ...{ epoch, phase, storeID: `store-${epoch}`, bootID: 'boot', reason: 'RunnerUnschedulable', startTime: at(-9_000), configHash: 'x' },
  source: kind === 'Backup' ? { kind, digest, repository: 'r.test/a' } : { kind },
  ...fields,
});
/** What the original copy ran from and to. */
const ran = { startTime: at(-60_000), finishTime: at(-20_000) };
const transition = { startTime: at(-9_000) };

const restoring = status({ ...ran, state: 'Restoring', assignment: assigned(5, 'Prepared', 'Backup', { previous: original }), transition });
const committed = status({
  ...{ finishTime: at(-20_000), state: 'Starting', transition: { startTime: at(-2_000) } },
  assignment: assigned(5, 'Committed', 'Backup', { previous: original }),
});
const started = status({ finishTime: at(-20_000), startTime: at(0), state: 'Started', assignment: assigned(5, 'Committed', 'Backup') });
const nextTarget = status({
  ...ran,
  state: 'Restoring',
  assignment: assigned(6, 'Prepared', 'Backup', { previous: original }),
  transition,
});
const back = (state: string) => status({ ...ran, state, assignment: assigned(4, 'Committed', 'Local') });
const stopped = status({ ...ran, state: 'Stopped', assignment: assigned(4, 'Committed', 'Local') });

const operation = (fields: object) => ({
  ...{
    kind: 'OnStop',
    id: 2,
    repository: 'r.test/a',
    storeID: 'store-4',
    epoch: 4,
    contentVersion: 3,
    startTime: at(-3_000),
    state: 'Running',
  },
  ...fields,
});
const backingUp = status({ state: 'Stopped', backup: { history: [], lastID: 2, operation: operation({}) } });
const backup = (fields: object) => status({ state: 'Stopped', backup: { history: [], lastID: 2, ...fields } });

const migration = (result: string) => ({ kind: 'Migration', reason: 'RunnerUnschedulable', result }) as Sample;
const left = (state: string, seconds: number) => ({ kind: 'State', state, seconds }) as Sample;

interface Row {
  readonly when: string;
  readonly before: SandboxStatus;
  readonly after: SandboxStatus;
  readonly want: readonly Sample[];
}
const rows: readonly Row[] = [
  { when: 'nothing changes', before: stopped, after: stopped, want: [] },
  { when: 'a move begins', before: stopped, after: restoring, want: [left('Stopped', 20)] },
  {
    when: 'it is committed',
    before: restoring,
    after: committed,
    want: [{ kind: 'Restore', seconds: 9, bytes: 700 }, left('Restoring', 9)],
  },
  { when: 'the moved copy runs', before: committed, after: started, want: [migration('Succeeded'), left('Starting', 2)] },
  {
    when: 'it ended before it was seen running',
    before: committed,
    after: { ...started, state: 'Stopped' },
    want: [migration('Succeeded'), left('Starting', 2)],
  },
  { when: 'it goes on', before: started, after: { ...started, message: 'else' }, want: [] },
  { when: 'another target is tried', before: restoring, after: nextTarget, want: [{ kind: 'TargetLost', reason: 'RunnerUnschedulable' }] },
  {
    when: 'no target works and it starts where it was',
    before: restoring,
    after: back('Starting'),
    want: [migration('Failed'), left('Restoring', 9)],
  },
  { when: 'no target works and it fails', before: restoring, after: back('Error'), want: [migration('Failed'), left('Restoring', 9)] },
  {
    when: 'nobody wants it started any more',
    before: restoring,
    after: back('Stopped'),
    want: [migration('Withdrawn'), left('Restoring', 9)],
  },
  { when: 'the committed target never started', before: committed, after: back('Error'), want: [migration('Failed'), left('Starting', 2)] },
  { when: 'a backup goes on', before: backingUp, after: backup({ operation: operation({ bytes: 5 }) }), want: [] },
  {
    when: 'a backup is recorded',
    before: backingUp,
    after: backup({ history: [{ ...record, verifiedTime: record.completionTime }] }),
    want: [{ kind: 'Backup', of: 'OnStop', result: 'Completed', seconds: 3, bytes: 700 }],
  },
  {
    when: 'a backup that could not be verified is noted, and tried again',
    before: backingUp,
    after: backup({ history: [record], operation: operation({ state: 'Pending', reason: 'DeadlineExceeded' }) }),
    want: [{ kind: 'Backup', of: 'OnStop', result: 'Failed', reason: 'DeadlineExceeded' }],
  },
  {
    when: 'a backup fails and is tried again',
    before: backingUp,
    after: backup({ operation: operation({ state: 'Pending', reason: 'RegistryUnavailable' }) }),
    want: [{ kind: 'Backup', of: 'OnStop', result: 'Failed', reason: 'RegistryUnavailable' }],
  },
  {
    when: 'a backup is given up',
    before: backingUp,
    after: backup({ operation: operation({ state: 'Failed', reason: 'BackupGivenUp' }) }),
    want: [{ kind: 'Backup', of: 'OnStop', result: 'GivenUp', reason: 'BackupGivenUp' }],
  },
  {
    when: 'a backup is given up for another one',
    before: backingUp,
    after: backup({ lastID: 3, operation: operation({ id: 3 }) }),
    want: [{ kind: 'Backup', of: 'OnStop', result: 'GivenUp', reason: 'BackupGivenUp' }],
  },
  {
    when: 'a failed one is tried again',
    before: backup({ operation: operation({ state: 'Pending' }) }),
    after: backup({ operation: operation({ id: 3 }) }),
    want: [],
  },
];

it.each(rows)('$when', ({ before, after, want }) => expect(samplesOf(before, after, testTime)).toEqual(want));
