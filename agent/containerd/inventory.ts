import type { ExitStatus, RuntimeCopy, RuntimeTask } from '../copies/runtime.ts';
import type { Container } from './gen/services/containers/v1/containers.ts';
import type { Info } from './gen/services/snapshots/v1/snapshots.ts';
import { type Process, Status } from './gen/types/task/task.ts';
import { copyID, parseCopyLabels } from './labels.ts';

/** What containerd has of this installation at about one moment. */
export interface RuntimeRecords {
  readonly containers: readonly Container[];
  readonly tasks: readonly Process[];
  readonly snapshots: readonly Info[];
  /** How the stopped tasks ended, by container id. */
  readonly exits: ReadonlyMap<string, ExitStatus>;
}

/** The copies that the records show. A snapshot without a container's record is one too: its content is there. */
export function copiesOf(installID: string, { containers, tasks, snapshots, exits }: RuntimeRecords): readonly RuntimeCopy[] {
  const snapshotNames = new Set(snapshots.map((snapshot) => snapshot.name));
  const byID = new Map(tasks.map((task) => [task.id, task]));
  const containerIDs = new Set(containers.map((container) => container.id));
  const records = [
    ...containers.map(({ id, labels, updatedAt }) => ({ id, labels, updatedAt })),
    ...snapshots.filter(({ name }) => !containerIDs.has(name)).map(({ name, labels, updatedAt }) => ({ id: name, labels, updatedAt })),
  ];
  return records.flatMap(({ id, labels, updatedAt }) => {
    const copy = parseCopyLabels(installID, labels);
    if (copy === undefined || copyID(copy.key) !== id) return [];
    const { key, namespace, name, note, configHash, baseDigest, requests, bootID } = copy;
    const startTimeMs = copy.startTimeMs || (updatedAt?.getTime() ?? 0);
    const task = taskOf(byID.get(id), startTimeMs, exits.get(id));
    return [{ key, namespace, name, note, configHash, baseDigest, requests, hasContent: snapshotNames.has(id), bootID, task }];
  });
}

function taskOf(process: Process | undefined, startTimeMs: number, exit: ExitStatus | undefined): RuntimeTask {
  switch (process?.status) {
    case undefined:
      return { state: 'None' };
    case Status.CREATED:
      return { state: 'Created' };
    case Status.PAUSED:
    case Status.PAUSING:
      return { state: 'Paused' };
    case Status.STOPPED:
      return exit === undefined ? { state: 'None' } : { state: 'Stopped', exit };
    default:
      return { state: 'Running', startTimeMs };
  }
}
