import { LABELS } from '../../crds/names.ts';

/** Labels of a one-shot's container and snapshot. They have no uid and no epoch, so that nobody takes them for a copy. */
export const oneShotLabel = 'berth.dev/task';

/** Keeps the snapshot until it is removed by name. */
const gcRoot = 'containerd.io/gc.root';

/** The id of a one-shot's container, task and snapshot. Never that of a copy, which ends with a number. */
export function oneShotID(taskID: string): string {
  return `${taskID}-task`;
}

export function isOneShotID(id: string): boolean {
  return id.endsWith(oneShotID(''));
}

export function oneShotLabels(installID: string, taskID: string): Record<string, string> {
  return { [LABELS.installID]: installID, [oneShotLabel]: taskID };
}

export function oneShotSnapshotLabels(installID: string, taskID: string): Record<string, string> {
  return { [gcRoot]: 'berth.dev', ...oneShotLabels(installID, taskID) };
}

/** Selects what is labelled so. */
export function oneShotFilter(installID: string): string {
  return `labels."${LABELS.installID}"=="${installID}",labels."${oneShotLabel}"`;
}
