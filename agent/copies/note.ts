import type { CopyNote } from './runtime.ts';
import { hasNotRun } from './view.ts';
import type { CopyView } from './view.ts';

/** The note that the container lacks. A start that may still be taken back is not noted. */
export function noteFor(copy: CopyView): CopyNote | undefined {
  const { entry, observed, isWaiting } = copy;
  if (entry?.accepted === undefined || observed === undefined || isWaiting || hasNotRun(copy)) return undefined;
  const note = { order: entry.accepted.order, contentVersion: entry.started };
  return noteText(note) === noteText(observed.note) ? undefined : note;
}

/** As one comparable text. */
export function noteText({ order, contentVersion }: CopyNote): string {
  return `${order} ${contentVersion}`;
}
