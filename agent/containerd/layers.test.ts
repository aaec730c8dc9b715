import { describe, expect, it } from '@jest/globals';
import { belowOf } from './layers.ts';

const overlay = (...options: string[]) => [{ type: 'overlay', source: 'overlay', target: '', options }];

describe('what a snapshot stands on', () => {
  it('is an overlay of the directories below it, with the options of the mount', () => {
    expect(belowOf(overlay('workdir=/w', 'upperdir=/u', 'lowerdir=/b:/a', 'index=off'))).toEqual(overlay('lowerdir=/b:/a', 'index=off'));
  });

  it('is a read-only bind of the one directory below it', () => {
    expect(belowOf(overlay('workdir=/w', 'upperdir=/u', 'lowerdir=/a'))).toEqual([
      { type: 'bind', source: '/a', target: '', options: ['ro', 'rbind'] },
    ]);
  });

  it.each([
    ['no mount', []],
    ['more than one', [...overlay('lowerdir=/a'), ...overlay('lowerdir=/a')]],
    ['a bind, of which nothing is known', [{ type: 'bind', source: '/a', target: '', options: ['rw', 'rbind'] }]],
    ['another file system', [{ type: 'btrfs', source: '/dev/sda1', target: '', options: ['subvolid=1'] }]],
    ['an overlay without directories below', overlay('upperdir=/u', 'workdir=/w')],
    ['one whose owners are mapped', overlay('uidmap=0:1000:1', 'lowerdir=/b:/a')],
  ])('is not known of %s', (_, mounts) => {
    expect(belowOf(mounts)).toBeUndefined();
  });
});
