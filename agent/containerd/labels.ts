import { LABELS } from '../../crds/names.ts';
import type { ResourceAmounts } from '../../crds/index.ts';
import type { CopyKey, CopyNote } from '../copies/runtime.ts';

/** Labels of containers and snapshots that only this folder reads. */
const own = {
  bootID: 'berth.dev/boot-id',
  requests: 'berth.dev/requests',
  startTime: 'berth.dev/start-time-ms',
  /** What the copy may write, in bytes. */
  diskLimit: 'berth.dev/disk-limit',
} as const;

/** On containers of copies and one-shots: name of the shim group; empty, or not there, when it has a shim of its own. */
export const shimGroupLabel = 'berth.dev/shim-group';

/** On what is made for a backup, with the installation: nothing of it outlives the process that made it. */
export const backupLabel = 'berth.dev/backup';

/** Keeps a snapshot whatever happens to the container's record: content is only ever removed by name. */
const gcRoot = 'containerd.io/gc.root';

/** The id of a copy's container, task and snapshot. */
export function copyID(key: CopyKey): string {
  return `${key.uid}-${key.epoch}`;
}

/** The copy that a container id names; undefined for anything that is not one. */
export function parseCopyID(id: string): CopyKey | undefined {
  const match = /^(.+)-(\d+)$/.exec(id);
  return match?.[1] === undefined ? undefined : { uid: match[1], epoch: Number(match[2]) };
}

/** What a copy's labels say. */
export interface CopyLabels {
  readonly key: CopyKey;
  readonly namespace: string;
  readonly name: string;
  readonly note: CopyNote;
  readonly configHash: string;
  readonly baseDigest: string;
  readonly requests: ResourceAmounts;
  /** 0: none. */
  readonly diskLimitBytes: number;
  readonly bootID: string;
  /** 0: unknown. */
  readonly startTimeMs: number;
  readonly shimGroup: string;
}

export function copyLabels(installID: string, copy: CopyLabels): Record<string, string> {
  const { cpuMillis, memoryBytes, diskBytes } = copy.requests;
  return {
    [LABELS.installID]: installID,
    [LABELS.namespace]: copy.namespace,
    [LABELS.name]: copy.name,
    [LABELS.uid]: copy.key.uid,
    [LABELS.epoch]: String(copy.key.epoch),
    [LABELS.baseDigest]: copy.baseDigest,
    [LABELS.configHash]: copy.configHash,
    [own.bootID]: copy.bootID,
    [own.requests]: `${cpuMillis}/${memoryBytes}/${diskBytes}`,
    [own.diskLimit]: String(copy.diskLimitBytes),
    [shimGroupLabel]: copy.shimGroup,
    ...noteLabels(copy.note, copy.startTimeMs),
  };
}

/** The labels that change while a copy lives. */
export function noteLabels(note: CopyNote, startTimeMs: number): Record<string, string> {
  return {
    [LABELS.order]: String(note.order),
    [LABELS.contentVersion]: String(note.contentVersion),
    ...(startTimeMs === 0 ? {} : { [own.startTime]: String(startTimeMs) }),
  };
}

/** The labels of a copy's snapshot: enough to know whose it is when the container's record is gone. */
export function snapshotLabels(installID: string, copy: CopyLabels): Record<string, string> {
  const { namespace, name, key, baseDigest, requests } = copy;
  const unknown = { note: { order: 0, contentVersion: 0 }, configHash: '', diskLimitBytes: 0, bootID: '', startTimeMs: 0, shimGroup: '' };
  return { [gcRoot]: 'berth.dev', ...copyLabels(installID, { ...unknown, namespace, name, key, baseDigest, requests }) };
}

/** Undefined when these are not the labels of a copy of this installation. */
export function parseCopyLabels(installID: string, labels: Readonly<Record<string, string>>): CopyLabels | undefined {
  const text = (label: string) => labels[label] ?? '';
  const number = (label: string) => wholeNumber(text(label)) ?? 0;
  const uid = labels[LABELS.uid];
  const epoch = wholeNumber(text(LABELS.epoch));
  if (labels[LABELS.installID] !== installID || uid === undefined || epoch === undefined) return undefined;
  return {
    key: { uid, epoch },
    namespace: text(LABELS.namespace),
    name: text(LABELS.name),
    note: { order: number(LABELS.order), contentVersion: number(LABELS.contentVersion) },
    configHash: text(LABELS.configHash),
    baseDigest: text(LABELS.baseDigest),
    requests: parseRequests(text(own.requests)),
    diskLimitBytes: number(own.diskLimit),
    bootID: text(own.bootID),
    startTimeMs: number(own.startTime),
    shimGroup: text(shimGroupLabel),
  };
}

function parseRequests(text: string): ResourceAmounts {
  const [cpuMillis = 0, memoryBytes = 0, diskBytes = 0] = text.split('/').map((part) => wholeNumber(part) ?? 0);
  return { cpuMillis, memoryBytes, diskBytes };
}

function wholeNumber(text: string): number | undefined {
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
