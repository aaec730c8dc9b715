import type { AcceptedRecord, ExitedRecord, RejectedRecord } from './record.ts';

/** Builders of records for tests. */
export function anAcceptance(of: Partial<AcceptedRecord> = {}): AcceptedRecord {
  return {
    kind: 'Accepted',
    uid: 'u1',
    epoch: 1,
    namespace: 'default',
    name: 'a',
    order: 1,
    content: 'Running 1',
    wanted: 'Running',
    contentVersion: 1,
    source: { kind: 'Image', digest: '' },
    configHash: 'c1',
    graceSeconds: 10,
    bootID: 'boot-1',
    timeMs: 1000,
    ...of,
  };
}

export function aRejection(of: Partial<RejectedRecord> = {}): RejectedRecord {
  return {
    kind: 'Rejected',
    uid: 'u1',
    epoch: 1,
    namespace: 'default',
    name: 'a',
    order: 1,
    content: 'Running 1',
    reason: 'ImageNotFound',
    message: 'not there',
    takenBack: 0,
    timeMs: 1000,
    ...of,
  };
}

export function anExit(of: Partial<ExitedRecord['exit']> = {}): ExitedRecord['exit'] {
  return { code: 0, signal: 0, oomKilled: false, finishTimeMs: 2000, lost: false, ordered: false, ...of };
}
