import { describe, expect, it } from '@jest/globals';
import { copyID, type CopyLabels, copyLabels, noteLabels, parseCopyID, parseCopyLabels, snapshotLabels } from './labels.ts';

const copy: CopyLabels = {
  key: { uid: '3f2c1a90-0000-4000-8000-000000000001', epoch: 12 },
  namespace: 'team',
  name: 'box',
  note: { order: 7, contentVersion: 3 },
  configHash: 'abc',
  baseDigest: 'sha256:1',
  requests: { cpuMillis: 125, memoryBytes: 2 ** 33, diskBytes: 5 },
  diskLimitBytes: 4096,
  bootID: 'boot',
  startTimeMs: 1_700_000_000_000,
  shimGroup: 'founder-1',
};

describe('ids', () => {
  it('go there and back', () => {
    expect(parseCopyID(copyID(copy.key))).toEqual(copy.key);
  });
  it.each(['probe', 'probe-x', '', '-'])('"%s" is no copy', (id) => {
    expect(parseCopyID(id)).toBeUndefined();
  });
  it('are accepted by containerd: at most 76 characters', () => {
    expect(copyID({ ...copy.key, epoch: Number.MAX_SAFE_INTEGER }).length).toBeLessThanOrEqual(76);
  });
});

describe('labels', () => {
  it('go there and back', () => {
    expect(parseCopyLabels('install', copyLabels('install', copy))).toEqual(copy);
  });
  it('of another installation are nobody of ours', () => {
    expect(parseCopyLabels('install', copyLabels('other', copy))).toBeUndefined();
  });
  it('that do not name a copy are nobody of ours', () => {
    const labels = copyLabels('install', copy);
    expect(parseCopyLabels('install', { ...labels, 'berth.dev/epoch': 'x' })).toBeUndefined();
    expect(parseCopyLabels('install', {})).toBeUndefined();
  });
  it('that were damaged by hand give zeros', () => {
    const labels = { ...copyLabels('install', copy), 'berth.dev/requests': 'much', 'berth.dev/order': '-1' };
    expect(parseCopyLabels('install', labels)).toEqual({
      ...copy,
      requests: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 },
      note: { order: 0, contentVersion: 3 },
    });
  });
  it('note nothing of a start that did not happen', () => {
    expect(noteLabels({ order: 1, contentVersion: 2 }, 0)).toEqual({ 'berth.dev/order': '1', 'berth.dev/content-version': '2' });
  });
  it('of a snapshot keep it from being collected and say whose it is', () => {
    const labels = snapshotLabels('install', copy);
    expect(labels).toHaveProperty(['containerd.io/gc.root']);
    expect(parseCopyLabels('install', labels)).toMatchObject({ key: copy.key, namespace: 'team', name: 'box', baseDigest: 'sha256:1' });
  });
});
