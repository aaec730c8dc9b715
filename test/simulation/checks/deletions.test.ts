import { describe, expect, it } from '@jest/globals';
import { sandboxSchema } from '../../../crds/index.ts';
import { fromImage } from '../models/content.ts';
import { DeletionChecks } from './deletions.ts';

const metadata = { namespace: 'n', name: 's', uid: 'uid-1', resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' };
const deleted = (reclaimPolicy: 'Delete' | 'Retain' = 'Delete') =>
  sandboxSchema.parse({
    metadata: { ...metadata, deletionTimestamp: '2026-01-01T00:00:00Z' },
    spec: { image: 'i:1', backup: { reclaimPolicy } },
  });
const left = {
  digest: 'sha256:1',
  repository: 'r',
  uid: 'uid-1',
  id: 1,
  contentVersion: 1,
  content: fromImage,
  condition: 'Corrupt',
} as const;

describe('a backup that the registry still has', () => {
  it.each([
    { when: 'its object went at once', after: 1_000, lastSilence: 500, wrong: true },
    { when: 'its object went at the deadline without a cause', after: 120_000, lastSilence: -1, wrong: true },
    { when: 'the registry was silent until the deadline', after: 120_000, lastSilence: 500, wrong: false },
    { when: 'a copy had to be noted at the deadline', after: 120_000, isNoted: true, wrong: false },
    { when: 'it was to be kept', after: 1_000, reclaimPolicy: 'Retain', wrong: false },
    { when: 'it is gone', after: 1_000, condition: 'Gone', wrong: false },
    { when: 'it is that of another', after: 1_000, uid: 'uid-2', wrong: false },
  ] as const)('is wrong: $wrong, when $when', ({ after, wrong, ...given }) => {
    const { lastSilence, isNoted, reclaimPolicy, condition, uid } = {
      lastSilence: -1,
      isNoted: false,
      ...left,
      reclaimPolicy: 'Delete',
      ...given,
    } as const;
    let now = 0;
    const checks = new DeletionChecks(() => now);
    checks.acknowledged(deleted(reclaimPolicy));
    expect(checks.leftOf([left])).toEqual([]);
    now = after;
    checks.gone(deleted(reclaimPolicy), { isNoted, lastSilence });
    const backup = { ...left, condition, uid };
    expect(checks.leftOf([backup])).toEqual(wrong ? [backup] : []);
  });
});
