import { LABELS, type Sandbox } from '../../crds/index.ts';
import type { RegistryResult, RegistryWork } from '../lifecycle/snapshot.ts';
import { messageOf } from '../../process/errors.ts';
import { RegistryError } from '../../registry/errors.ts';

/** What becomes of a work is told as this. */
export type WorkOutcome = Pick<RegistryResult, 'outcome' | 'sizeBytes' | 'message'>;

/** Equal for the same work. */
export function workKey(work: RegistryWork): string {
  return [work.kind, ...(work.kind === 'Verify' ? [work.depth, work.contentVersion] : []), subjectOf(work)].join(' ');
}

/** What it is about, as the registry names it. */
export function subjectOf(work: RegistryWork): string {
  return work.kind === 'Sweep' ? `${work.repository}:${work.tagPrefix}*` : `${work.repository}@${work.digest}`;
}

/** What the manifest must say of itself: its digest is all that is known from whoever sent it, and could be that of another backup. */
export function annotationsOf(
  { metadata }: Sandbox,
  { contentVersion }: RegistryWork & { readonly kind: 'Verify' },
): Readonly<Record<string, string>> {
  return { [LABELS.uid]: metadata.uid, [LABELS.contentVersion]: String(contentVersion) };
}

export type Lane = 'Quick' | 'Long' | 'Removal';

/** Reading every byte takes long, and removals may be many: such work has a lane of its own. */
export function laneOf(work: RegistryWork): Lane {
  if (work.kind !== 'Verify') return 'Removal';
  return work.depth === 'Full' ? 'Long' : 'Quick';
}

/** `sizeBytes`: what the blobs of a backup that was looked at measure together. */
export function doneOutcome(work: RegistryWork, sizeBytes = 0): WorkOutcome {
  const name = subjectOf(work);
  if (work.kind === 'Sweep') return { outcome: 'Deleted', sizeBytes, message: `No backup is left under ${name}.` };
  if (work.kind === 'Delete') return { outcome: 'Deleted', sizeBytes, message: `The backup ${name} is not in the registry any more.` };
  const looked = work.depth === 'Full' ? 'every byte of it was read back' : 'its manifest and the sizes of its blobs are right';
  return { outcome: 'Whole', sizeBytes, message: `The backup ${name} is whole: ${looked}.` };
}

export function failedOutcome(work: RegistryWork, error: unknown): WorkOutcome {
  const told = messageOf(error);
  const message = told.includes(work.kind === 'Sweep' ? work.tagPrefix : work.digest) ? told : `${subjectOf(work)}: ${told}`;
  return { outcome: outcomeOf(error), sizeBytes: 0, message };
}

/** Nobody answered, so that nothing else should be asked there for a while. */
export function isRegistryDown(error: unknown): boolean {
  return error instanceof RegistryError && error.isOutage;
}

function outcomeOf(error: unknown): RegistryResult['outcome'] {
  if (!(error instanceof RegistryError)) return 'Unavailable';
  switch (error.code) {
    case 'NotFound':
      return 'Missing';
    case 'Corrupt':
      return 'Corrupt';
    case 'Unauthorized':
      return 'Unauthorized';
    case 'Unsupported':
      return 'Unsupported';
    case 'Unavailable':
      return 'Unavailable';
  }
}
