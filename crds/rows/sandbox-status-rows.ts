import { DIGEST, OTHER_DIGEST, TIME } from './bases.ts';
import { conditionRows, counterRow, identityRow, requestRow, runnerNameRow, timeRow } from './field-rows.ts';
import { ABSENT, row, type Row } from './row.ts';

const record = { digest: DIGEST, contentVersion: 2, takenWhile: 'Stopped', sizeBytes: 1024, completionTime: TIME };
const records = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ ...record, digest: `sha256:${String(n).padStart(64, '0')}` }));
const release = { runnerName: 'a', storeID: 'b', epoch: 1, contentVersion: 1 };
const releases = (count: number) => Array.from({ length: count }, (_, epoch) => ({ ...release, epoch, runnerName: 'r'.repeat(253) }));
const requiredDigest = (field: string) =>
  row(field, [DIGEST, OTHER_DIGEST], [ABSENT, 'latest', 'sha256:00', `sha512:${'0'.repeat(64)}`, 1]);
const optionalReason = (field: string) => row(field, ['Started', 'OOMKilled', ABSENT], ['', 'not camel', 'lower', 'A'.repeat(65), 1]);

function recordRows(path: string): readonly Row[] {
  return [
    requiredDigest(`${path}.digest`),
    counterRow(`${path}.contentVersion`),
    row(`${path}.takenWhile`, ['Stopped', 'Paused'], [ABSENT, 'Running', 1]),
    counterRow(`${path}.sizeBytes`),
    timeRow(`${path}.completionTime`),
  ];
}

export const sandboxStatusRows: readonly Row[] = [
  row('status', [{}, { state: 'Pending' }], ['Started', 1]),
  row(
    'status.state',
    ['Pending', 'Creating', 'Restoring', 'Starting', 'Started', 'Stopping', 'Stopped', 'Archiving', 'Archived', 'Deleting', 'Error'],
    ['Running', '', 1],
  ),
  optionalReason('status.reason'),
  row('status.message', ['', 'Said in one sentence.', ABSENT], ['a'.repeat(4097), 1]),
  counterRow('status.observedGeneration', 'optional'),
  runnerNameRow('status.runnerName', 'optional'),
  runnerNameRow('status.prevRunnerName', 'optional'),
  counterRow('status.order', 'optional'),
  row('status.assignment', [ABSENT], ['runner-1', 1]),
  counterRow('status.assignment.epoch'),
  identityRow('status.assignment.storeID'),
  identityRow('status.assignment.bootID'),
  row('status.assignment.phase', ['Prepared', 'Committed'], [ABSENT, 'Running', 1]),
  row('status.assignment.source', [{ kind: 'Local' }, { kind: 'Image', digest: DIGEST }], [ABSENT, 'Local', 1]),
  row('status.assignment.source.kind', ['Image', 'Local', 'Backup'], [ABSENT, 'Copy', 1]),
  row('status.assignment.source.digest', [OTHER_DIGEST, ABSENT], ['latest', 'sha256:00', 1]),
  row('status.assignment.previous', [release, ABSENT], ['runner-1', 1]),
  runnerNameRow('status.assignment.previous.runnerName'),
  identityRow('status.assignment.previous.storeID'),
  counterRow('status.assignment.previous.epoch'),
  counterRow('status.assignment.previous.contentVersion'),
  row('status.assignment.reason', ['FirstPlacement'], [ABSENT, '', 'first placement', 1]),
  timeRow('status.assignment.startTime'),
  row('status.assignment.configHash', ['a', 'a'.repeat(128)], [ABSENT, '', 'a'.repeat(129), 1]),
  counterRow('status.contentVersion', 'optional'),
  row('status.baseImage', [ABSENT], ['debian', 1]),
  row('status.baseImage.ref', ['debian:12'], [ABSENT, '', 'a'.repeat(513), 1]),
  requiredDigest('status.baseImage.digest'),
  row('status.backup', [{}, ABSENT], ['none', 1]),
  row('status.backup.latest', [record, ABSENT], ['none', 1]),
  ...recordRows('status.backup.latest'),
  row('status.backup.operation', [{ kind: 'Verify', state: 'Pending', startTime: TIME }, ABSENT], ['none', 1]),
  row('status.backup.operation.kind', ['Backup', 'Verify', 'Delete'], [ABSENT, 'Restore', 1]),
  row('status.backup.operation.state', ['Pending', 'Running', 'Succeeded', 'Failed'], [ABSENT, 'Done', 1]),
  requestRow('status.backup.operation.requestID'),
  timeRow('status.backup.operation.startTime'),
  counterRow('status.backup.operation.bytes', 'optional'),
  optionalReason('status.backup.operation.reason'),
  row(
    'status.backup.history[]',
    [[], [record, { ...record, digest: OTHER_DIGEST }], records(100), ABSENT],
    [[record, record], 'none', records(101)],
  ),
  ...recordRows('status.backup.history[]'),
  timeRow('status.backup.history[].verifiedTime', 'optional'),
  timeRow('status.backup.history[].deletionTime', 'optional'),
  row('status.releases[]', [[], [release, { ...release, epoch: 2 }], releases(32), ABSENT], [[release, release], 'none', releases(33)]),
  runnerNameRow('status.releases[].runnerName'),
  identityRow('status.releases[].storeID'),
  counterRow('status.releases[].epoch'),
  counterRow('status.releases[].contentVersion'),
  row('status.transition', [{ startTime: TIME }, ABSENT], ['none', 1]),
  timeRow('status.transition.startTime'),
  timeRow('status.transition.deadlineTime', 'optional'),
  counterRow('status.transition.attempts', 'optional'),
  timeRow('status.transition.retryTime', 'optional'),
  timeRow('status.startTime', 'optional'),
  timeRow('status.finishTime', 'optional'),
  row('status.exitCode', [0, 1, 137, 255, ABSENT], [-1, 256, 1.5, '0']),
  row(
    'status.exitReason',
    ['Completed', 'Error', 'OOMKilled', 'Signaled', 'DiskLimitExceeded', 'Lost', 'RunnerRebooted', ABSENT],
    ['Done', 1],
  ),
  counterRow('status.restartCount', 'optional'),
  requestRow('status.restartID'),
  ...conditionRows(17),
];
