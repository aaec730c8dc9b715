import { describe, expect, it } from '@jest/globals';
import { founderIn, idleShims } from './leftovers.ts';

describe('a shim is idle', () => {
  const shims = [
    { pid: 10, founder: 'a-1' },
    { pid: 20, founder: 'b-1' },
  ];
  const pids = (of: Parameters<typeof idleShims>[1]) => idleShims(shims, of).map(({ pid }) => pid);

  it.each([
    { what: 'the founder', user: { id: 'a-1', group: 'a-1', isLive: true }, idle: [20] },
    { what: 'one that has a shim of its own', user: { id: 'a-1', group: '', isLive: true }, idle: [20] },
    { what: 'a member whose founder is gone', user: { id: 'c-1', group: 'a-1', isLive: true }, idle: [20] },
    { what: "a member of the founder's second group", user: { id: 'c-1', group: 'a-1.3', isLive: true }, idle: [20] },
    { what: 'a container with neither task nor process', user: { id: 'a-1', group: 'a-1', isLive: false }, idle: [10, 20] },
    { what: 'a member of another group', user: { id: 'c-1', group: 'd-1', isLive: true }, idle: [10, 20] },
  ])('unless a live container is in it: $what', ({ user, idle }) => {
    expect(pids([user])).toEqual(idle);
  });
});

describe('the founder of a shim', () => {
  const ours = { address: '/run/containerd.sock', namespace: 'berth' };
  const shim = ['/usr/bin/containerd-shim-runc-v2', '-namespace', 'berth', '-id', 'a-1', '-address', '/run/containerd.sock'];

  it('is in its command line', () => {
    expect(founderIn(shim, ours)).toBe('a-1');
  });

  it.each([
    { what: 'of another namespace', line: shim.with(2, 'k8s.io') },
    { what: 'of another containerd', line: shim.with(6, '/run/other.sock') },
    { what: 'that is another program', line: shim.with(0, '/usr/bin/editor') },
    { what: 'without a namespace', line: [...shim.slice(0, 1), ...shim.slice(3)] },
    { what: 'without an address', line: shim.slice(0, 5) },
    { what: 'that has just ended', line: [] },
  ])('is nobody in one $what', ({ line }) => {
    expect(founderIn(line, ours)).toBeUndefined();
  });
});
