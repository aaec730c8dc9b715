import { describe, expect, it } from '@jest/globals';
import { decideLeftovers, founderIn, idleMs, nothingLookedAt, type Shim, type ShimUser } from './leftovers.ts';

const shim = (of: Partial<Shim> = {}): Shim => ({ pid: 10, started: 1_000, founder: 'a-1', ...of });
const user = (of: Partial<ShimUser> = {}): ShimUser => ({ id: 'a-1', group: 'a-1', isLive: true, ...of });
const look = (
  atMs: number,
  of: { ids?: readonly string[]; shims?: readonly Shim[]; users?: readonly ShimUser[] },
  before = nothingLookedAt,
) => decideLeftovers(before, { atMs, ids: [], shims: [], users: [], ...of });

describe('a container of the OCI runtime is lost', () => {
  it.each(['a-1', 't1-task', 'probe-1b2c'])('when it had no record at two looks (%s)', (id) => {
    const first = look(0, { ids: [id] });
    expect(first.lost).toEqual([]);
    expect(look(1, { ids: [id] }, first.next).lost).toEqual([id]);
  });

  it('not when its record was away for a moment', () => {
    const first = look(0, { ids: ['a-1'] });
    const second = look(1, { ids: ['a-1'], users: [user({ isLive: false })] }, first.next);
    expect(second.lost).toEqual([]);
    expect(look(2, { ids: ['a-1'] }, second.next).lost).toEqual([]);
  });

  it.each(['.cache', 'systemd-missing-properties'])('not when it is something else that the runtime keeps (%s)', (name) => {
    expect(look(1, { ids: [name] }, look(0, { ids: [name] }).next).lost).toEqual([]);
  });
});

describe('a shim is idle', () => {
  const idle = (of: Parameters<typeof look>[1]) => look(idleMs, of, look(0, of).next).idle;

  it('when nothing was in it for as long as a call to it may take', () => {
    const first = look(0, { shims: [shim()] });
    const second = look(idleMs - 1, { shims: [shim()] }, first.next);
    expect([first.idle, second.idle]).toEqual([[], []]);
    expect(look(idleMs, { shims: [shim()] }, second.next).idle).toEqual([shim()]);
  });

  it('from the last time on that something was in it', () => {
    const first = look(0, { shims: [shim()] });
    const second = look(1, { shims: [shim()], users: [user()] }, first.next);
    const third = look(2, { shims: [shim()] }, second.next);
    expect(look(idleMs + 1, { shims: [shim()] }, third.next).idle).toEqual([]);
  });

  it('not for what another process with its pid was', () => {
    expect(look(idleMs, { shims: [shim({ started: 2_000 })] }, look(0, { shims: [shim()] }).next).idle).toEqual([]);
  });

  it.each([
    { what: 'the founder', of: user() },
    { what: 'one that has a shim of its own', of: user({ group: '' }) },
    { what: 'a member whose founder is gone', of: user({ id: 'c-1' }) },
    { what: "a member of the founder's second group", of: user({ id: 'c-1', group: 'a-1.3' }) },
  ])('unless a live container is in it: $what', ({ of }) => {
    expect(idle({ shims: [shim()], users: [of] })).toEqual([]);
  });

  it.each([
    { what: 'has neither task nor process', of: user({ isLive: false }) },
    { what: 'is a member of another group', of: user({ id: 'c-1', group: 'd-1' }) },
  ])('when its only container $what', ({ of }) => {
    expect(idle({ shims: [shim()], users: [of] })).toEqual([shim()]);
  });
});

describe('the founder of a shim', () => {
  const ours = { address: '/run/containerd.sock', namespace: 'berth' };
  const line = ['/usr/bin/containerd-shim-runc-v2', '-namespace', 'berth', '-id', 'a-1', '-address', '/run/containerd.sock'];

  it('is in its command line', () => {
    expect(founderIn(line, ours)).toBe('a-1');
  });

  it.each([
    { what: 'of another namespace', of: line.with(2, 'k8s.io') },
    { what: 'of another containerd', of: line.with(6, '/run/other.sock') },
    { what: 'without a namespace', of: [...line.slice(0, 1), ...line.slice(3)] },
    { what: 'without an address', of: line.slice(0, 5) },
    { what: 'that is called to start one', of: [...line, 'start'] },
    { what: 'that is called to remove what one left', of: [...line, 'delete'] },
    { what: 'that has just ended', of: [] },
  ])('is nobody in one $what', ({ of }) => {
    expect(founderIn(of, ours)).toBeUndefined();
  });
});
