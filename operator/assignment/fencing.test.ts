import { describe, expect, it } from '@jest/globals';
import { aRunner } from '../../test/builders/a-runner-view.ts';
import { fencingOf, isProvenFenced, OUT_OF_SERVICE_TAINT, type NodeView } from './fencing.ts';

const known = (...taints: readonly string[]): NodeView => ({ kind: 'Known', taints });
const gone: NodeView = { kind: 'Gone' };

describe('what asserts that a machine is off', () => {
  it.each([
    { when: 'nothing', fenced: false, node: known(), want: undefined },
    { when: 'nobody watches Nodes', fenced: false, node: undefined, want: undefined },
    { when: 'the administrator', fenced: true, node: known(), want: 'Administrator' },
    { when: 'the taint', fenced: false, node: known('other', OUT_OF_SERVICE_TAINT), want: 'NodeOutOfService' },
    { when: 'another taint', fenced: false, node: known('node.kubernetes.io/unreachable'), want: undefined },
    { when: 'its Node is gone', fenced: false, node: gone, want: 'NodeGone' },
    {
      when: 'the taint, while recovery is suspended',
      fenced: false,
      node: known(OUT_OF_SERVICE_TAINT),
      isSuspended: true,
      want: undefined,
    },
    { when: 'its Node is gone, while recovery is suspended', fenced: false, node: gone, isSuspended: true, want: undefined },
    { when: 'the administrator, while recovery is suspended', fenced: true, node: gone, isSuspended: true, want: 'Administrator' },
  ])('$when → $want', ({ fenced, node, isSuspended = false, want }) => expect(fencingOf(fenced, node, isSuspended)).toBe(want));

  it.each([
    { when: 'it is lost', runner: aRunner('r1').fenced(), want: true },
    { when: 'it is lost and nobody asserts it', runner: aRunner('r1').notReady(), want: false },
    { when: 'its agent is connected', runner: aRunner('r1').with({ fencing: 'NodeGone', isReady: false }), want: false },
    { when: 'its Lease is renewed', runner: aRunner('r1').disconnected().with({ fencing: 'NodeGone' }), want: false },
    { when: 'it has another disk', runner: aRunner('r1').fenced().with({ storeID: 'other' }), want: false },
  ])('proves that nothing runs there only of a runner that gives no sign of life: $when → $want', ({ runner, want }) => {
    expect(isProvenFenced(runner.view(), 'store-r1')).toBe(want);
  });
});
