import { describe, expect, it } from '@jest/globals';
import { removableImages, type CollectableImage, type ImageUses } from './collect.ts';

const minute = 60_000;
const image = (name: string, of: Partial<CollectableImage> = {}): CollectableImage => ({
  name,
  digest: `sha256:${name}`,
  chainID: `chain:${name}`,
  content: [`sha256:index-of-${name}`],
  isBackup: false,
  isPreloaded: false,
  isHeld: false,
  lastUsed: 0,
  ...of,
});
const unused: ImageUses = { snapshots: [], named: new Set(), leased: new Set() };
const copyOn = (parent: string, of: Partial<ImageUses['snapshots'][number]> = {}) => ({ name: 'u1-1', parent, isCommitted: false, ...of });

describe('an image', () => {
  it.each<{ when: string; of?: Partial<CollectableImage>; uses?: Partial<ImageUses>; want: string[] }>([
    { when: 'nothing stands on it', want: ['a'] },
    { when: 'it was used a moment ago', of: { lastUsed: 9 * minute }, want: [] },
    { when: 'it is being pulled or made use of', of: { isHeld: true }, want: [] },
    { when: 'an administrator loaded it', of: { isPreloaded: true }, want: [] },
    { when: 'it cannot be read', of: { digest: undefined, chainID: undefined }, want: [] },
    { when: 'a copy stands on it', uses: { snapshots: [copyOn('chain:a')] }, want: [] },
    {
      when: 'a copy stands on another image that was made from it',
      uses: { snapshots: [copyOn('chain:b'), { name: 'chain:b', parent: 'chain:a', isCommitted: true }] },
      want: [],
    },
    { when: 'a copy stands on another', uses: { snapshots: [copyOn('chain:b')] }, want: ['a'] },
    {
      when: 'only an unpacked layer of another image stands on it',
      uses: { snapshots: [{ name: 'chain:b', parent: 'chain:a', isCommitted: true }] },
      want: ['a'],
    },
    { when: 'a container names it', uses: { named: new Set(['a']) }, want: [] },
    { when: 'a copy names its digest', uses: { named: new Set(['sha256:a']) }, want: [] },
    { when: 'a copy names the digest of its index', uses: { named: new Set(['sha256:index-of-a']) }, want: [] },
    { when: 'a lease holds its content', uses: { leased: new Set(['sha256:a']) }, want: [] },
    { when: 'a lease holds its snapshot', uses: { leased: new Set(['chain:a']) }, want: [] },
  ])('may be removed or not: $when', ({ of, uses, want }) => {
    expect(removableImages([image('a', of)], { ...unused, ...uses }, { now: 10 * minute, minimumAgeMs: 2 * minute })).toEqual(want);
  });

  it('goes before those that were used later', () => {
    const images = [image('b', { lastUsed: 2 }), image('c', { lastUsed: 1 }), image('a', { lastUsed: 2 })];
    expect(removableImages(images, unused, { now: minute, minimumAgeMs: 0 })).toEqual(['c', 'a', 'b']);
  });
});
