import { describe, expect, it } from '@jest/globals';
import { aRunner } from '../../test/builders/a-runner-view.ts';
import { aDigest, aSandbox, at, type SandboxBuilder } from '../../test/builders/a-sandbox.ts';
import { aCopy, aLook, aWorld, anExit, subject, type WorldBuilder } from '../../test/builders/a-world.ts';
import { decide } from '../lifecycle/decide.ts';

/** A registry that is wrong for a moment costs no sandbox its files: what was found damaged is looked at again, and relied on again when it is whole. */

const none = aSandbox().order(5).version(1).status({ prevRunnerName: 'r1', highestEpoch: 4 });
const archived = none.backedUp().status({ state: 'Archived', reason: 'Archived' });
const full = (outcome: Parameters<typeof aLook>[0], rest: Parameters<typeof aLook>[1] = {}) => aLook(outcome, { depth: 'Full', ...rest });
const trusted = (status: ReturnType<typeof decide>['status']) =>
  status.backup?.history.map(({ verifiedTime }) => verifiedTime !== undefined);

function seen(world: WorldBuilder) {
  const { status, registry, events, lookAgainMs } = decide(world.snapshot());
  return {
    state: status.state,
    reason: status.reason,
    trusted: trusted(status),
    asks: registry.map((work) => `${work.kind === 'Verify' ? work.depth : work.kind} ${subject(work)}`),
    events: events.map(({ reason }) => reason),
    lookAgainMs,
  };
}

/** The one backup was found missing. */
const doubted = (box: SandboxBuilder) => box.status(decide(aWorld(box).registry(aLook('Missing')).snapshot()).status);

describe('no runner has the files, and the backup is said to be missing', () => {
  const lost = doubted(archived);
  it('is told, not relied on, and looked at again after a minute', () => {
    expect(seen(aWorld(archived).registry(aLook('Missing')))).toEqual({
      state: 'Error',
      reason: 'NoCurrentBackup',
      trusted: [false],
      asks: [],
      events: ['NoCurrentBackup', 'BackupUnverified'],
      lookAgainMs: 59_900,
    });
    expect(decide(aWorld(lost).registry(aLook('Missing')).snapshot()).status.message).toContain('is looked at again');
  });

  it.each([
    {
      when: 'a minute later: every byte is asked for',
      given: aWorld(lost).registry(aLook('Missing', { ago: 60_000 })),
      want: { state: 'Error', asks: ['Full 01'], trusted: [false] },
    },
    {
      when: 'a leader that knows nothing: at once',
      given: aWorld(lost),
      want: { state: 'Error', asks: ['Full 01'] },
    },
    {
      when: 'missing again and again: less and less often',
      given: aWorld(lost).registry(full('Missing', { ago: 400_000, failures: 4 })),
      want: { asks: [], lookAgainMs: 80_000 },
    },
    {
      when: 'the sizes alone do not do',
      given: aWorld(lost).registry(aLook('Whole')),
      want: { state: 'Error', trusted: [false], asks: ['Full 01'] },
    },
    {
      when: 'read back: relied on again, and restored',
      given: aWorld(lost).registry(full('Whole')),
      want: { state: 'Restoring', trusted: [true], events: ['Restoring', 'BackupVerified'] },
    },
    {
      when: 'read back, and found damaged later: not relied on',
      given: aWorld(lost).registry(full('Whole', { ago: 1_000 }), aLook('Corrupt', { ago: 100 })),
      want: { state: 'Error', trusted: [false], asks: [] },
    },
    {
      when: 'read back long ago: again',
      given: aWorld(lost).registry(full('Whole', { ago: 60_001 })),
      want: { state: 'Error', trusted: [false], asks: ['Full 01'] },
    },
    {
      when: 'it is to stay archived: looked at as well',
      given: aWorld(doubted(archived.spec({ desiredState: 'Archived' }))),
      want: { state: 'Archived', asks: ['Full 01'] },
    },
    {
      when: 'it is to be removed: never again',
      given: aWorld(none.backedUp({ verifiedTime: undefined, deletionTime: at(-1_000) })).registry(full('Whole')),
      want: { state: 'Error', trusted: [false], asks: ['Delete 01'] },
    },
  ])('$when', ({ given, want }) => expect(seen(given)).toMatchObject(want));
});

describe('a runner has the files', () => {
  const stopped = (box: SandboxBuilder, ...looks: ReturnType<typeof aLook>[]) => {
    const { order, contentVersion } = box.obj().status;
    return aWorld(box)
      .runners(aRunner('r1'))
      .registry(...looks)
      .reported(aCopy('Stopped', { order, contentVersion, exit: anExit('Completed') }));
  };
  const box = aSandbox().onRunner('r1').stopped().wantsStopped();

  it('another backup is made, and what was found damaged is asked for no more once that is current', () => {
    const another = box.backedUp({ verifiedTime: undefined }).backedUp();
    expect(seen(stopped(another))).toMatchObject({ trusted: [false, true], asks: [] });
  });

  it('a copy that was replaced: its backup is looked at again', () => {
    const kept = box
      .version(3)
      .backedUp({ contentVersion: 2, verifiedTime: undefined })
      .backedUp()
      .status({ superseded: [{ runnerName: 'r2', storeID: 'store-r2', epoch: 7, contentVersion: 2 }] });
    expect(seen(stopped(kept))).toMatchObject({ asks: ['Full 01'] });
    expect(seen(stopped(kept, full('Whole')))).toMatchObject({ trusted: [true, true], events: ['BackupVerified'] });
    expect(decide(stopped(kept, full('Whole')).snapshot()).status.releases.map(({ epoch }) => epoch)).toEqual([7]);
  });

  it('retention keeps the one that is doubted: it may be all that is left', () => {
    const old = aSandbox()
      .version(2)
      .status({ state: 'Archived', highestEpoch: 1 })
      .spec({ desiredState: 'Archived' })
      .backedUp({ verifiedTime: undefined })
      .backedUp({ takenWhile: 'Paused' })
      .backupPolicy({ retain: 1 });
    const { status } = decide(aWorld(old).snapshot());
    expect(status.backup?.history.map(({ digest, deletionTime }) => [digest, deletionTime])).toEqual([
      [aDigest(1), undefined],
      [aDigest(2), undefined],
    ]);
  });
});
