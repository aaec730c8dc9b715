import { expect, it } from '@jest/globals';
import { hasProof, isPreloaded, proofLabels, proofsOf } from './pull-proof.ts';

const labels = { other: 'label', ...proofLabels('a', 'sha256:1') };

it.each([
  { who: 'the namespace that pulled this content', namespace: 'a', digest: 'sha256:1', want: true },
  { who: 'another namespace', namespace: 'b', digest: 'sha256:1', want: false },
  { who: 'the namespace that pulled what the name meant before', namespace: 'a', digest: 'sha256:2', want: false },
  { who: 'anybody while the content is not known', namespace: 'a', digest: '', want: false },
])('$who: $want', ({ namespace, digest, want }) => {
  expect(hasProof(labels, namespace, digest)).toBe(want);
});

it('a proof that is still without a digest proves nothing and is no image for everybody', () => {
  const unfinished = proofLabels('a', '');
  expect(hasProof(unfinished, 'a', '')).toBe(false);
  expect(isPreloaded(unfinished)).toBe(false);
});

it('an image without any proof was loaded by hand', () => {
  expect(isPreloaded({ other: 'label' })).toBe(true);
});

it('only proofs are carried over', () => {
  expect(proofsOf(labels)).toEqual(proofLabels('a', 'sha256:1'));
});
