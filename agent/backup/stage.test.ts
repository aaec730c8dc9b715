import { describe, expect, it } from '@jest/globals';
import type { BackupRank, BackupWish } from '../copies/order.ts';
import { BackupPhase } from '../proto/gen/berth/agent/v1/agent.ts';
import type { BackupReport } from '../proto/gen/berth/agent/v1/agent.ts';
import { backupReport, isSameBackup, nextInLine } from './stage.ts';
import type { BackupStage } from './stage.ts';

const wish: BackupWish = { id: 3, repository: 'registry.test/a', contentVersion: 7, priority: 'Stopped', credentials: [] };
const silent: BackupReport = {
  ...{ id: 3, phase: 0, bytes: 0, totalBytes: 0, digest: '', sizeBytes: 0, takenWhileStopped: false, reason: '', message: '' },
};

describe('what is told of a backup', () => {
  it.each<{ when: string; stage: BackupStage; want: Partial<BackupReport> }>([
    { when: 'it waits', stage: { kind: 'Waiting' }, want: { phase: BackupPhase.BACKUP_PHASE_WAITING } },
    {
      when: 'it is read',
      stage: { kind: 'Reading', progress: { bytes: 5, totalBytes: 0 } },
      want: { phase: BackupPhase.BACKUP_PHASE_DIFFING, bytes: 5 },
    },
    {
      when: 'it is sent',
      stage: { kind: 'Pushing', progress: { bytes: 5, totalBytes: 9 } },
      want: { phase: BackupPhase.BACKUP_PHASE_PUSHING, bytes: 5, totalBytes: 9 },
    },
    {
      when: 'the registry is away',
      stage: { kind: 'Pushing', progress: { bytes: 0, totalBytes: 0 }, trouble: { reason: 'RegistryUnavailable', message: 'It is away.' } },
      want: { phase: BackupPhase.BACKUP_PHASE_WAITING, reason: 'RegistryUnavailable', message: 'It is away.' },
    },
    {
      when: 'the registry has it',
      stage: { kind: 'Done', made: { digest: 'sha256:1', sizeBytes: 9, takenWhileStopped: true } },
      want: { phase: BackupPhase.BACKUP_PHASE_DONE, digest: 'sha256:1', sizeBytes: 9, takenWhileStopped: true },
    },
    {
      when: 'it failed',
      stage: { kind: 'Failed', reason: 'OutOfDisk', message: 'Full.' },
      want: { phase: BackupPhase.BACKUP_PHASE_FAILED, reason: 'OutOfDisk', message: 'Full.' },
    },
  ])('when $when', ({ stage, want }) => expect(backupReport({ wish, stage, hasTurn: true })).toEqual({ ...silent, ...want }));
});

describe('who is next', () => {
  it.each<{ line: readonly (readonly [string, BackupRank])[]; want: string | undefined }>([
    { line: [], want: undefined },
    {
      line: [
        ['a', 'Started'],
        ['b', 'Stopped'],
        ['c', 'Archiving'],
      ],
      want: 'c',
    },
    {
      line: [
        ['a', 'Started'],
        ['b', 'Stopped'],
        ['c', 'Stopped'],
      ],
      want: 'b',
    },
  ])('in $line: $want', ({ line, want }) => expect(nextInLine(line.map(([name, rank]) => ({ name, rank })))?.name).toBe(want));
});

describe('the same backup', () => {
  it.each<{ than: Partial<BackupWish>; want: boolean }>([
    { than: { priority: 'Archiving', credentials: [{ host: 'a', username: 'b', password: 'c' }] }, want: true },
    { than: { id: 4 }, want: false },
    { than: { repository: 'registry.test/b' }, want: false },
    { than: { contentVersion: 8 }, want: false },
  ])('with $than: $want', ({ than, want }) => expect(isSameBackup(wish, { ...wish, ...than })).toBe(want));
});
