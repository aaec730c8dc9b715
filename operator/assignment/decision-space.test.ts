import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { allPoints, columnNames, columns, snapshotAt, worldAt, type Point } from '../../test/builders/decision-space.ts';
import { mergeRows } from '../../test/builders/merge-rows.ts';
import { decide } from '../lifecycle/decide.ts';
import type { Decision } from '../lifecycle/decision.ts';
import { asksForMore, mainOrder, ordersOf } from '../lifecycle/orders.ts';
import type { SandboxSnapshot } from '../lifecycle/snapshot.ts';

const golden = join(import.meta.dirname, 'decision-space.golden.txt');
/** Every point with what is decided there, once. */
const decided = allPoints().map((point) => {
  const world = snapshotAt(point);
  return { point, world, decision: decide(world) };
});
type Decided = (typeof decided)[number];

/** What comes of a point, in a few words. */
function outcomeOf({ world, decision }: Decided): string {
  const { status, patch, finalizer } = decision;
  const before = world.sandbox.status;
  if (finalizer === 'Remove') return 'the object goes';
  if (!Object.keys(patch ?? {}).some((key) => key !== 'conditions')) return 'as it is';
  const version = status.contentVersion - before.contentVersion;
  const parts = [
    `${status.state} ${status.reason ?? ''}`,
    ...(status.runnerName !== before.runnerName ? [`on ${status.runnerName === 'r2' ? 'another' : 'R0'}`] : []),
    ...(status.order > before.order ? ['order raised'] : []),
    ...(version === 0 ? [] : [`version ${version > 0 ? '+' : '-'}1`]),
    ...(status.releases.length > before.releases.length ? ['release'] : []),
  ];
  return parts.join(', ');
}

function table(): string {
  const rows = mergeRows(
    decided.map(({ point }) => columnNames.map((name) => point[name])),
    decided.map(outcomeOf),
  );
  const cells = rows.map(({ values, outcome }) => [
    ...values.map((set, index) => {
      const all = Object.keys(columns[columnNames[index] ?? 'wanted']);
      if (set.size === all.length) return '*';
      const missing = all.filter((value) => !set.has(value));
      return missing.length < set.size && set.size > 3 ? `not ${missing.join(' | ')}` : all.filter((value) => set.has(value)).join(' | ');
    }),
    outcome,
  ]);
  const sorted = cells.toSorted((a, b) => a.join('\t').localeCompare(b.join('\t')));
  return [[...columnNames, 'then'].join('\t'), ...sorted.map((row) => row.join('\t'))].join('\n') + '\n';
}

/** A release says what is left, unless nothing of it is there, or its disk is gone. */
function isRecorded({ sandbox: { status: before }, runner, copy }: SandboxSnapshot, next: Decision['status']): boolean {
  const { runnerName, assignment } = before;
  if (copy?.state === 'Absent' || runner?.storeID !== assignment?.storeID) return true;
  return next.releases.some((one) => one.runnerName === runnerName && one.epoch === assignment?.epoch);
}

describe('the decision space', () => {
  it('is the committed table, of at most 200 lines (BERTH_UPDATE_GOLDENS=1 writes it)', () => {
    const now = table();
    if (process.env.BERTH_UPDATE_GOLDENS === '1') writeFileSync(golden, now);
    expect(now).toBe(readFileSync(golden, 'utf8'));
    expect(now.split('\n').length - 1).toBeLessThanOrEqual(200);
  });

  /** Checks every point, and names the first that does not hold. */
  function holdsEverywhere(test: (world: SandboxSnapshot, decision: Decision, point: Point) => void): void {
    for (const { point, world, decision } of decided) {
      try {
        test(world, decision, point);
      } catch (error) {
        throw new Error(`at ${JSON.stringify(point)}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      }
    }
  }

  it('a frozen snapshot gives the decision that a copy gives, again and again, in any order of runners', () => {
    holdsEverywhere((world, first, point) => {
      expect(decide(world)).toEqual(first);
      expect(decide(worldAt(point).thawed())).toEqual(first);
      expect(decide({ ...world, fleet: world.fleet.toReversed() })).toEqual(first);
    });
  });

  it('one number, one content: an order that was not given before has a higher number', () => {
    holdsEverywhere((world, { status: next }) => {
      const before = world.sandbox.status;
      expect(next.order - before.order).toBe(asksForMore(before, next) || next.order > before.order ? 1 : 0);
      const known = ordersOf({ status: before }).map((order) => JSON.stringify(order));
      for (const order of ordersOf({ status: next })) {
        if (next.order === before.order) expect(known).toContain(JSON.stringify(order));
        else expect(order.order).toBe(before.order + 1);
      }
    });
  });

  it('a number is raised only when something else is asked for', () => {
    holdsEverywhere((world, { status: next }) => {
      const before = world.sandbox.status;
      if (next.order > before.order)
        expect(ordersOf({ status: { ...next, order: 0 } })).not.toEqual(ordersOf({ status: { ...before, order: 0 } }));
    });
  });

  it('contentVersion rises by one in the patch that permits a start, falls by one on proof, and only then', () => {
    holdsEverywhere((world, { status: next }) => {
      const before = world.sandbox.status;
      const change = next.contentVersion - before.contentVersion;
      expect(Math.abs(change)).toBeLessThanOrEqual(1);
      const permits = (next.state === 'Creating' || next.state === 'Starting') && next.order > before.order;
      if (change > 0) expect(permits).toBe(true);
      const isProof = world.copy !== undefined && world.copy.order >= before.order && world.copy.contentVersion < before.contentVersion;
      if (change < 0) expect([isProof, mainOrder(next)?.wanted]).not.toContainEqual(false);
      if (change < 0) expect(mainOrder(next)?.wanted).not.toBe('Running');
    });
  });

  it('a runner that may have started it is left only with proof, and what may lie there is recorded', () => {
    holdsEverywhere((world, { status: next }) => {
      const before = world.sandbox.status;
      const isLeft =
        before.runnerName !== undefined && (next.runnerName !== before.runnerName || next.assignment?.epoch !== before.assignment?.epoch);
      if (!isLeft) return;
      const isProven =
        before.contentVersion === 0 ||
        world.copy?.state === 'Rejected' ||
        world.copy?.state === 'Stopped' ||
        world.copy?.state === 'Absent';
      expect({ isProven, isRecorded: isRecorded(world, next), prevRunnerName: next.prevRunnerName }).toEqual({
        isProven: true,
        isRecorded: true,
        prevRunnerName: next.runnerName === before.runnerName ? before.prevRunnerName : before.runnerName,
      });
    });
  });

  it('nothing is removed but what is deleted or released, and content is never made from the image again', () => {
    holdsEverywhere((world, { status: next }) => {
      const { sandbox } = world;
      for (const { wanted, runnerName, epoch } of ordersOf({ status: next })) {
        const isReleased = next.releases.some((one) => one.runnerName === runnerName && one.epoch === epoch);
        if (wanted === 'Absent') expect(isReleased || sandbox.metadata.deletionTimestamp !== undefined).toBe(true);
      }
      const hadContent =
        sandbox.status.contentVersion > 0 && sandbox.status.state !== 'Creating' && sandbox.status.reason !== 'DeadlineExceeded';
      const startsAnew = next.state === 'Creating' && next.order > sandbox.status.order;
      if (hadContent && startsAnew) expect(world.copy).toMatchObject({ contentVersion: sandbox.status.contentVersion - 1 });
    });
  });

  it('Started is said only of what was seen running, Stopped only of what is at rest', () => {
    holdsEverywhere((world, { status: next }) => {
      const before = world.sandbox.status;
      const { copy } = world;
      if (next.state === 'Started' && before.state !== 'Started') {
        expect(copy).toMatchObject({ state: 'Running', contentVersion: before.contentVersion });
        expect(copy?.order).toBeGreaterThanOrEqual(before.order);
      }
      const wasAtRest = before.contentVersion === 0 || before.state === 'Stopped' || before.state === 'Pending';
      const hasEndedWithMachine = world.runner?.fencing !== undefined && before.startTime !== undefined;
      if (next.state === 'Stopped' && !wasAtRest && !hasEndedWithMachine) expect(['Stopped', 'Rejected', 'Absent']).toContain(copy?.state);
    });
  });

  it('comes to rest: decided again on what it wrote, with nothing new, it soon writes nothing', () => {
    holdsEverywhere((world) => {
      const settled = Array.from({ length: 5 }).reduce<SandboxSnapshot>((seen) => {
        const { status } = decide(seen);
        const sandbox = { ...seen.sandbox, status };
        return { ...seen, sandbox, runner: seen.fleet.find(({ name }) => name === status.runnerName) };
      }, world);
      expect(decide(settled).patch).toBeUndefined();
    });
  });

  it('nothing is stuck: a state that ends by a deadline has one, and is looked at again', () => {
    holdsEverywhere((world, { status, lookAgainMs, finalizer, patch }) => {
      if (finalizer !== 'Keep') return;
      if (['Creating', 'Starting', 'Stopping', 'Deleting'].includes(status.state)) {
        expect(lookAgainMs).toBeGreaterThanOrEqual(0);
        if (patch !== undefined && world.sandbox.status.state !== status.state) expect(status.transition?.deadlineTime).toBeDefined();
      }
      if (status.state === 'Pending' || status.state === 'Error') expect(status.message).toMatch(/\.$/);
    });
  });
});
