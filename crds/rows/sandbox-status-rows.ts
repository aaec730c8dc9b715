import { DIGEST, OTHER_DIGEST, TIME } from './bases.ts';
import { conditionRows, counterRow, identityRow, requestRow, runnerNameRow, timeRow } from './field-rows.ts';
import { ABSENT, row, type Row } from './row.ts';

const REPOSITORY = '127.0.0.1:5000/berth/default.base';
const record = { digest: DIGEST, repository: REPOSITORY, contentVersion: 2, takenWhile: 'Stopped', sizeBytes: 1024, completionTime: TIME };
const records = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ ...record, digest: `sha256:${String(n).padStart(64, '0')}` }));
const operation = {
  ...{ kind: 'OnStop', state: 'Pending', id: 1, repository: REPOSITORY, startTime: TIME },
  ...{ storeID: 'b', epoch: 1, contentVersion: 1 },
};
const release = { runnerName: 'a', storeID: 'b', epoch: 1, contentVersion: 1 };
const releases = (count: number) => Array.from({ length: count }, (_, epoch) => ({ ...release, epoch, runnerName: 'r'.repeat(253) }));
const requiredDigest = (field: string) =>
  row(field, [DIGEST, OTHER_DIGEST], [ABSENT, 'latest', 'sha256:00', `sha512:${'0'.repeat(64)}`, 1]);
const optionalReason = (field: string) => row(field, ['Started', 'OOMKilled', ABSENT], ['', 'not camel', 'lower', 'A'.repeat(65), 1]);

const repositoryRow = (field: string, ...good: readonly unknown[]) =>
  row(field, [REPOSITORY, 'a'.repeat(512), ...good], ['', 'a'.repeat(513), 1, ...(good.length === 0 ? [ABSENT] : [])]);

function recordRows(path: string): readonly Row[] {
  return [
    requiredDigest(`${path}.digest`),
    repositoryRow(`${path}.repository`),
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
  repositoryRow('status.assignment.source.repository', ABSENT),
  row('status.assignment.previous', [release, ABSENT], ['runner-1', 1]),
  runnerNameRow('status.assignment.previous.runnerName'),
  identityRow('status.assignment.previous.storeID'),
  counterRow('status.assignment.previous.epoch'),
  counterRow('status.assignment.previous.contentVersion'),
  row('status.assignment.reason', ['FirstPlacement'], [ABSENT, '', 'first placement', 1]),
  timeRow('status.assignment.startTime'),
  row('status.assignment.configHash', ['a', 'a'.repeat(128)], [ABSENT, '', 'a'.repeat(129), 1]),
  row('status.assignment.runningConfigHash', [ABSENT, 'a', 'a'.repeat(128)], ['', 'a'.repeat(129), 1]),
  counterRow('status.highestEpoch', 'optional'),
  counterRow('status.contentVersion', 'optional'),
  row('status.baseImage', [ABSENT], ['debian', 1]),
  row('status.baseImage.ref', ['debian:12'], [ABSENT, '', 'a'.repeat(513), 1]),
  requiredDigest('status.baseImage.digest'),
  row('status.backup', [{}, ABSENT], ['none', 1]),
  row('status.backup.latest', [record, ABSENT], ['none', 1]),
  ...recordRows('status.backup.latest'),
  counterRow('status.backup.lastID', 'optional'),
  requestRow('status.backup.requestID'),
  row('status.backup.operation', [operation, ABSENT], ['none', 1]),
  row('status.backup.operation.kind', ['OnStop', 'Interval', 'Request', 'Archive'], [ABSENT, 'Restore', 1]),
  row('status.backup.operation.state', ['Pending', 'Running', 'Failed'], [ABSENT, 'Done', 1]),
  counterRow('status.backup.operation.id'),
  repositoryRow('status.backup.operation.repository'),
  identityRow('status.backup.operation.storeID'),
  counterRow('status.backup.operation.epoch'),
  counterRow('status.backup.operation.contentVersion'),
  counterRow('status.backup.operation.attempts', 'optional'),
  timeRow('status.backup.operation.retryTime', 'optional'),
  row('status.backup.operation.message', ['', 'Said in one sentence.', ABSENT], ['a'.repeat(1025), 1]),
  requestRow('status.backup.operation.requestID'),
  timeRow('status.backup.operation.startTime'),
  timeRow('status.backup.operation.progressTime', 'optional'),
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
  row('status.restore', [{ requestID: '1', digest: DIGEST, completionTime: TIME }, ABSENT], ['done', {}, 1]),
  row('status.restore.requestID', ['1', '2026-01-31'], [ABSENT, '', 'a b', 'a'.repeat(64), 1]),
  requiredDigest('status.restore.digest'),
  timeRow('status.restore.completionTime'),
  row('status.releases[]', [[], [release, { ...release, epoch: 2 }], releases(32), ABSENT], [[release, release], 'none', releases(33)]),
  runnerNameRow('status.releases[].runnerName'),
  identityRow('status.releases[].storeID'),
  counterRow('status.releases[].epoch'),
  counterRow('status.releases[].contentVersion'),
  row('status.superseded[]', [[], [release, { ...release, epoch: 2 }], releases(32), ABSENT], [[release, release], 'none', releases(33)]),
  runnerNameRow('status.superseded[].runnerName'),
  identityRow('status.superseded[].storeID'),
  counterRow('status.superseded[].epoch'),
  counterRow('status.superseded[].contentVersion'),
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
