import type { Release, SandboxStatus } from '../../crds/index.ts';
import { isCommit, withHistory } from './backup-defects.ts';
import { constantDemand, demandPlan } from './demand.ts';
import type { Sabotage } from './sabotage.ts';
import { rewriteStatus, seeRunners } from './sabotage.ts';

/** Rules of moves (docs/adr/0005-backups-and-moves.md), each taken away on purpose. */
export const moveDefects = {
  'previous-runner-forgotten': {
    says: 'the runner that a move leaves is read after it was overwritten',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) => (isMove(before, after) ? { ...after, prevRunnerName: undefined } : after)),
  },
  'load-of-nobody': {
    says: 'the load that is compared with maxStarted is that of no runner: none ever has too many',
    planOf: (seed) => demandPlan(constantDemand, seed),
    // As if nothing ran on the runner: the most that a spec may say is never passed.
    transport: (transport) => seeRunners(transport, (spec) => ({ ...spec, maxStarted: 10_000 })),
  },
  'released-at-commit': {
    says: 'the copy of before is removed when the restored one is permitted to run, and has not run yet',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) => {
        const { assignment } = after;
        if (!isCommit(before, after) || assignment?.previous === undefined) return after;
        return { ...after, assignment: { ...assignment, previous: undefined }, releases: [...after.releases, assignment.previous] };
      }),
  },
  'older-copy-resurrected': {
    says: 'the copy that a move has left stays, and the next start is one of it',
    transport: (transport, world) => {
      const left = new Map<string, Release>();
      return rewriteStatus(transport, world, (before, after, _, uid) => {
        const known = left.get(uid);
        const { assignment } = after;
        if (known !== undefined && assignment !== undefined && after.state === 'Starting' && before.state !== 'Starting') {
          const { runnerName, epoch, storeID } = known;
          const bootID = world.nodes.find(({ machine }) => machine.name === runnerName)?.machine.bootID ?? '';
          const present = before.assignment && {
            ...before.assignment,
            runnerName: before.runnerName ?? '',
            contentVersion: before.contentVersion,
          };
          const others = after.superseded.filter((one) => one.epoch !== epoch);
          const superseded = present === undefined ? others : [...others, placeOf(present)];
          return { ...after, runnerName, superseded, assignment: { ...assignment, epoch, storeID, bootID, source: { kind: 'Local' } } };
        }
        const [fresh] = after.releases.filter(({ epoch }) => before.assignment?.previous?.epoch === epoch);
        if (fresh === undefined) return after;
        left.set(uid, fresh);
        return { ...after, releases: after.releases.filter((one) => one !== fresh), superseded: [...after.superseded, fresh] };
      });
    },
  },
  'second-target-after-commit': {
    says: 'a target that was permitted to run, and was not seen running yet, is left for another one',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after, now) => {
        const { assignment } = before;
        const other = world.nodes.map(({ machine }) => machine).find(({ name }) => name !== before.runnerName);
        const isUnseen = assignment?.phase === 'Committed' && assignment.source.kind === 'Backup' && before.startTime === undefined;
        if (other === undefined || !isUnseen || after.assignment?.epoch !== assignment.epoch) return after;
        const highestEpoch = Math.max(before.highestEpoch, assignment.epoch) + 1;
        const { name: runnerName, storeID, bootID } = other;
        const first = placeOf({ ...assignment, runnerName: before.runnerName ?? '', contentVersion: before.contentVersion });
        return {
          ...before,
          ...{ runnerName, highestEpoch, order: after.order + 1, contentVersion: before.contentVersion + 1 },
          assignment: { ...assignment, epoch: highestEpoch, storeID, bootID, startTime: now },
          superseded: [...before.superseded, first],
        };
      }),
  },
  'retention-in-use': {
    says: 'a backup is removed while it is being restored',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after, now) => {
        const { source } = after.assignment ?? {};
        if (after.state !== 'Restoring' || before.state === 'Restoring' || source?.kind !== 'Backup') return after;
        return withHistory(after, (record) => (record.digest === source.digest ? { ...record, deletionTime: now } : record));
      }),
  },
} as const satisfies Readonly<Record<string, Sabotage>>;

function isMove({ assignment: before }: SandboxStatus, { assignment: after }: SandboxStatus): boolean {
  return after?.previous !== undefined && before?.epoch !== after.epoch;
}

function placeOf({ runnerName, storeID, epoch, contentVersion }: Release): Release {
  return { runnerName, storeID, epoch, contentVersion };
}
