import type { SandboxStatus } from '../../crds/index.ts';
import { withHistory } from './backup-defects.ts';
import type { Sabotage } from './sabotage.ts';
import { rewriteStatus } from './sabotage.ts';

/** Rules of moves (docs/adr/0005-backups-and-moves.md), each taken away on purpose. */
export const moveDefects = {
  'previous-runner-forgotten': {
    says: 'the runner that a move leaves is read after it was overwritten',
    transport: (transport, world) =>
      rewriteStatus(transport, world, (before, after) => (isMove(before, after) ? { ...after, prevRunnerName: undefined } : after)),
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
