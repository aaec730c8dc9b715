import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { SandboxStatus } from '../../crds/index.ts';
import { mergeRows, rotations } from '../../test/builders/merge-rows.ts';
import {
  allMovePoints,
  moveColumnNames,
  moveColumns,
  moveSnapshotAt,
  moveWorldAt,
  type MovePoint,
} from '../../test/builders/move-space.ts';
import { historyOf, holdsVersion } from '../backups/current.ts';
import { decide } from '../lifecycle/decide.ts';
import type { Decision } from '../lifecycle/decision.ts';
import { asksForMore, mainOrder, ordersOf } from '../lifecycle/orders.ts';
import type { SandboxSnapshot } from '../lifecycle/snapshot.ts';

const golden = join(import.meta.dirname, 'move-space.golden.txt');
const decided = allMovePoints().map((point) => {
  const world = moveSnapshotAt(point);
  return { point, world, decision: decide(world) };
});
type Decided = (typeof decided)[number];

/** What comes of a point, in a few words. */
function outcomeOf({ world, decision }: Decided): string {
  const { status, finalizer, registry } = decision;
  const before = world.sandbox.status;
  if (finalizer === 'Remove') return 'the object goes';
  return [
    stateOf(before, status),
    ...placeOf(before, status),
    ...(registry.length > 0 && status.state !== 'Deleting' ? ['asks the registry'] : []),
  ].join(', ');
}

function stateOf(before: SandboxStatus, { state, reason = '' }: SandboxStatus): string {
  if (state === before.state) return 'as it is';
  return state === 'Error' || state === 'Pending' ? `${state} ${reason}` : state;
}

function placeOf(before: SandboxStatus, { runnerName = '', assignment }: SandboxStatus): readonly string[] {
  if (runnerName === (before.runnerName ?? '') && assignment?.epoch === before.assignment?.epoch) return [];
  const where = { r1: 'R0', r2: 'another', r3: 'the next' }[runnerName] ?? 'no runner';
  return [`on ${where}`, ...(assignment?.phase === 'Prepared' ? [assignment.reason] : [])];
}

function table(): string {
  const rows = mergeRows(
    decided.map(({ point }) => moveColumnNames.map((name) => point[name])),
    decided.map(outcomeOf),
    rotations,
  );
  const cells = rows.map(({ values, outcome }) => [
    ...values.map((set, index) => {
      const all = Object.keys(moveColumns[moveColumnNames[index] ?? 'wanted']);
      if (set.size === all.length) return '*';
      const missing = all.filter((value) => !set.has(value));
      return missing.length < set.size && set.size > 2 ? `not ${missing.join(' | ')}` : all.filter((value) => set.has(value)).join(' | ');
    }),
    outcome,
  ]);
  const sorted = cells.toSorted((a, b) => a.join('\t').localeCompare(b.join('\t')));
  return [[...moveColumnNames, 'then'].join('\t'), ...sorted.map((row) => row.join('\t'))].join('\n') + '\n';
}

/** Checks every point, and names the first that does not hold. */
function holdsEverywhere(test: (world: SandboxSnapshot, decision: Decision, point: MovePoint) => void): void {
  for (const { point, world, decision } of decided) {
    try {
      test(world, decision, point);
    } catch (error) {
      throw new Error(`at ${JSON.stringify(point)}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
}

/** The backup that is assigned, which was restored, and those of which every byte was read back. */
function provenBackups({ registry, sandbox }: SandboxSnapshot): ReadonlySet<string | undefined> {
  const readBack = registry.flatMap(({ work, outcome }) =>
    work.kind === 'Verify' && work.depth === 'Full' && outcome === 'Whole' ? [work.digest] : [],
  );
  return new Set([sandbox.status.assignment?.source.digest, ...readBack]);
}

function holds(value: boolean, what: string): void {
  if (!value) throw new Error(what);
}

describe('the decision space of moves', () => {
  it('is the committed table, of at most 200 lines (BERTH_UPDATE_GOLDENS=1 writes it)', () => {
    const now = table();
    if (process.env.BERTH_UPDATE_GOLDENS === '1') writeFileSync(golden, now);
    expect(now).toBe(readFileSync(golden, 'utf8'));
    expect(now.split('\n').length - 1).toBeLessThanOrEqual(200);
  });

  it('A9: a frozen snapshot gives the decision that a copy gives, in any order of runners', () => {
    fc.assert(
      fc.property(fc.nat(decided.length - 1), (index) => {
        const one = decided[index];
        if (one === undefined) return;
        expect(decide(moveWorldAt(one.point).thawed())).toEqual(one.decision);
        expect(decide({ ...one.world, fleet: one.world.fleet.toReversed() })).toEqual(one.decision);
      }),
      { numRuns: 500 },
    );
  });

  it('one number, one content', () => {
    holdsEverywhere((world, { status: next }) => {
      const before = world.sandbox.status;
      holds(next.order - before.order === (asksForMore(before, next) ? 1 : 0), `order ${before.order} → ${next.order}`);
    });
  });

  it('an epoch is that of the copy that is assigned, of the one before it, or one that was never given', () => {
    holdsEverywhere((world, { status: next }) => {
      const before = world.sandbox.status;
      const epoch = next.assignment?.epoch;
      const highest = Math.max(before.highestEpoch, before.assignment?.epoch ?? 0);
      const known = [undefined, before.assignment?.epoch, before.assignment?.previous?.epoch, highest + 1];
      holds(known.includes(epoch), `epoch ${epoch ?? 'none'}`);
      holds(next.highestEpoch >= Math.max(highest, epoch ?? 0), `highestEpoch ${next.highestEpoch}`);
    });
  });

  it('the original runner is never forgotten', () => {
    holdsEverywhere((world, { status: next }) => {
      const before = world.sandbox.status;
      if (next.runnerName === before.runnerName) return;
      const isBack = next.runnerName === (before.assignment?.previous?.runnerName ?? before.runnerName);
      const isLost = next.superseded.length > before.superseded.length && next.state === 'Restoring';
      const expected =
        isBack || isLost ? before.runnerName : (before.assignment?.previous?.runnerName ?? before.runnerName ?? before.prevRunnerName);
      holds(next.prevRunnerName !== undefined, 'prevRunnerName is empty');
      holds(next.prevRunnerName === expected, `prevRunnerName ${next.prevRunnerName ?? ''}`);
    });
  });

  it('A2: load is a reason only where there is an original runner', () => {
    holdsEverywhere((world, { status: next }) => {
      const isNew = next.assignment?.reason === 'LoadBalanced';
      holds(!isNew || (world.sandbox.status.runnerName !== undefined && (world.runner?.load.started ?? 0) > 35), 'LoadBalanced');
    });
  });

  it('what is committed is left only with the proof that nothing ran there', () => {
    holdsEverywhere((world, { status: next }) => {
      const before = world.sandbox.status;
      const isLeft =
        before.assignment?.phase === 'Committed' && before.startTime === undefined && next.assignment?.epoch !== before.assignment.epoch;
      if (!isLeft) return;
      const { copy, runner } = world;
      // Its disk is another, and its machine was booted anew: nothing runs there, and nobody knows what ran before.
      if (
        runner?.storeID !== before.assignment.storeID &&
        runner?.agent !== undefined &&
        runner.agent.bootID !== before.assignment.bootID
      ) {
        holds(next.contentVersion === before.contentVersion, 'contentVersion is taken back without a proof');
        holds(next.assignment?.source.digest === before.assignment.source.digest, 'restored from something else');
        const { previous } = before.assignment;
        holds(
          next.superseded.some(({ epoch }) => epoch === previous?.epoch),
          'the copy of before is forgotten',
        );
        return;
      }
      holds(copy !== undefined && copy.order >= before.order && copy.contentVersion < before.contentVersion, 'left without a proof');
      holds(next.contentVersion <= before.contentVersion, 'contentVersion is not taken back');
    });
  });

  it('preparing changes no content; committing, and a start in place, raise contentVersion by one', () => {
    holdsEverywhere((world, { status: next }) => {
      const before = world.sandbox.status;
      const taken =
        world.copy?.contentVersion !== undefined && before.startTime === undefined && world.copy.contentVersion < before.contentVersion;
      const change = next.contentVersion - before.contentVersion;
      holds(change >= (taken ? -1 : 0) && change <= 1, `contentVersion ${change}`);
      if (next.state === 'Restoring') holds(change <= 0 && mainOrder(next)?.wanted === 'Prepared', 'something ran ahead');
    });
  });

  it('nothing is restored but what is current, or what nobody saw run and is gone with its disk, and only when it was just found whole', () => {
    holdsEverywhere((world, { status: next }, { backup, state, others }) => {
      const before = world.sandbox.status;
      const isNew = next.state === 'Restoring' && next.assignment?.epoch !== before.assignment?.epoch;
      const isOnceMore = state.startsWith('committed') && others.startsWith('rebuilt') && backup === 'outdated';
      holds(!isNew || backup === 'current, whole' || backup === 'current, another' || isOnceMore, 'restored');
    });
  });

  it('no copy goes, unless the backup that was restored from or one that was read back has its version', () => {
    holdsEverywhere((world, { status: next }, { wanted, backup }) => {
      const before = world.sandbox.status;
      if (wanted === 'Deleted') return;
      const known = new Set(before.releases.map(({ epoch }) => epoch));
      for (const release of next.releases.filter(({ epoch }) => !known.has(epoch))) {
        const isTarget = release.epoch === before.assignment?.epoch && before.assignment.source.kind === 'Backup';
        const proven = provenBackups(world);
        const isHeld = historyOf(next).some((record) => holdsVersion(record, release.contentVersion) && proven.has(record.digest));
        const hasRun = next.startTime !== undefined || world.copy?.state === 'Stopped';
        holds(isTarget || isHeld, `${release.runnerName}/${release.epoch} is released`);
        if (isTarget) holds(before.assignment.phase === 'Prepared' || before.startTime === undefined, 'what ran is released');
        else if (next.state !== 'Archived') holds(hasRun, 'released before the restored copy ran');
        if (next.state === 'Archived') holds(backup === 'current, whole', 'archived without being read back');
      }
      for (const { wanted: what, runnerName, epoch } of ordersOf({ status: next })) {
        holds(
          what !== 'Absent' || next.releases.some((one) => one.runnerName === runnerName && one.epoch === epoch),
          'removed without a record',
        );
      }
    });
  });

  it('a restored copy keeps the one before it until it has run', () => {
    holdsEverywhere((world, { status: next }, { wanted }) => {
      const before = world.sandbox.status;
      const previous = before.assignment?.previous;
      if (wanted === 'Deleted' || previous === undefined || next.assignment?.previous !== undefined) return;
      const isBack = next.assignment?.epoch === previous.epoch;
      const isReleased =
        next.releases.some(({ epoch }) => epoch === previous.epoch) || world.fleet.every(({ name }) => name !== previous.runnerName);
      const isKept = next.superseded.some(({ epoch }) => epoch === previous.epoch);
      holds(isBack || ((isReleased || isKept) && world.copy?.contentVersion === before.contentVersion), 'forgotten');
    });
  });

  it('comes to rest: decided again on what it wrote, with nothing new, it soon writes nothing', () => {
    const isReported = ({ report }: MovePoint) => report === 'nothing';
    for (const { world, point } of decided.filter((one) => isReported(one.point))) {
      const settled = Array.from({ length: 6 }).reduce<SandboxSnapshot>((seen) => {
        const { status } = decide(seen);
        return { ...seen, sandbox: { ...seen.sandbox, status }, runner: seen.fleet.find(({ name }) => name === status.runnerName) };
      }, world);
      const { patch } = decide(settled);
      if (patch !== undefined) throw new Error(`at ${JSON.stringify(point)}: ${JSON.stringify(patch)}`);
    }
  });

  it('nothing is stuck: a state that ends by a deadline has one, what waits is looked at again or says for what', () => {
    holdsEverywhere((world, { status, lookAgainMs, finalizer, patch, registry }) => {
      if (finalizer !== 'Keep') return;
      if (['Restoring', 'Starting', 'Stopping', 'Archiving', 'Deleting'].includes(status.state)) {
        holds((lookAgainMs ?? -1) >= 0, 'is not looked at again');
        if (patch !== undefined && world.sandbox.status.state !== status.state)
          holds(status.transition?.deadlineTime !== undefined, 'has no deadline');
      }
      if (status.state === 'Pending' || status.state === 'Error')
        holds(status.message?.endsWith('.') === true, `message ${status.message ?? ''}`);
      if (registry.length > 0) holds(lookAgainMs !== undefined, 'the answer may never come');
    });
  });
});
