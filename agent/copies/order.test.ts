import { describe, expect, it } from '@jest/globals';
import { BackupPriority } from '../proto/gen/berth/agent/v1/agent.ts';
import type { BackupOrder, Order } from '../proto/gen/berth/agent/v1/agent.ts';
import { aBackup, anOrder, toPrepare, toRemove, toStop } from './an-order.ts';
import { readOrder } from './order.ts';

const backup: BackupOrder = {
  id: 3,
  repository: 'registry.test/backups/default.a',
  contentVersion: 7,
  priority: BackupPriority.BACKUP_PRIORITY_STOPPED,
};

const contentOf = (order: Order) => {
  const read = readOrder(order);
  return typeof read === 'string' ? read : read.content;
};

describe('what came under an order, as one text', () => {
  it.each<{ when: string; order: Order; want: string }>([
    { when: 'it stops', order: toStop(1), want: 'Stopped' },
    {
      when: 'it stops and asks for a backup',
      order: toStop(1, { backup }),
      want: 'Stopped backup 3 registry.test/backups/default.a 7',
    },
    {
      when: 'the backup is more urgent',
      order: toStop(1, { backup: { ...backup, priority: BackupPriority.BACKUP_PRIORITY_ARCHIVING } }),
      want: 'Stopped backup 3 registry.test/backups/default.a 7',
    },
    {
      when: 'it runs and asks for a backup',
      order: anOrder({ contentVersion: 7, backup }),
      want: 'Running 7 Image  c1 backup 3 registry.test/backups/default.a 7',
    },
    {
      when: 'it restores',
      order: toPrepare(1, { source: aBackup('sha256:1') }),
      want: 'Prepared Backup registry.test/backups/default.a@sha256:1 c1',
    },
    { when: 'it restores from nowhere', order: toPrepare(1, { source: aBackup('sha256:1', '') }), want: 'it names no source' },
    {
      when: 'it removes and asks for a backup',
      order: toRemove(1, { backup }),
      want: 'it asks for a backup of what is neither kept nor run',
    },
    {
      when: 'the backup has no place',
      order: toStop(1, { backup: { ...backup, repository: '' } }),
      want: 'its backup has no id, repository or contentVersion',
    },
  ])('$when: $want', ({ order, want }) => expect(contentOf(order)).toBe(want));

  it('leaves out what may change between two deliveries', () => {
    const credentials = [{ host: 'registry.test', username: 'u', password: 'p' }];
    expect(readOrder(toStop(1, { backup, credentials }))).toMatchObject({
      content: contentOf(toStop(1, { backup })),
      backup: { id: 3, contentVersion: 7, priority: 'Stopped', credentials },
    });
  });
});
