import type { BackupRecord } from '../../crds/index.ts';
import type { RegistryResult, RegistryWork, SandboxSnapshot } from '../lifecycle/snapshot.ts';

/** What the registry is known to hold of a backup. */
export type Verification =
  /** Read back, and all there: so many bytes. */
  | { readonly kind: 'Whole'; readonly sizeBytes: number }
  /** Not known yet, or not any more: `work` is to be done, and its result wakes the sandbox. */
  | { readonly kind: 'Asked'; readonly work: RegistryWork; readonly lookAgainMs: number }
  /** The registry can not be asked now. With `work` it is time to try again. */
  | { readonly kind: 'Unavailable'; readonly message: string; readonly work: RegistryWork | undefined; readonly lookAgainMs: number }
  /** A part is missing or is not what the digest says. */
  | { readonly kind: 'Bad'; readonly message: string };

/** How long a registry that did not answer is left alone. */
export const registryRetryMs = 5_000;
/** A result older than this says nothing about now. */
export const freshMs = 60_000;

type Sought = Pick<BackupRecord, 'digest' | 'repository' | 'contentVersion'>;

/** Whether a backup is whole, by a look that is at most `freshMs` old. Every byte read counts for its sizes, too. */
export function verificationOf(
  { registry, now }: Pick<SandboxSnapshot, 'registry' | 'now'>,
  { digest, repository, contentVersion }: Sought,
  depth: 'Meta' | 'Full',
): Verification {
  const work: RegistryWork = { kind: 'Verify', depth, repository, digest, contentVersion };
  const result = newestLook(registry, work, depth);
  const age = result === undefined ? Infinity : now.monotonic - result.at;
  if (result === undefined || age > freshMs) return { kind: 'Asked', work, lookAgainMs: registryRetryMs };
  switch (result.outcome) {
    case 'Whole':
      return { kind: 'Whole', sizeBytes: result.sizeBytes };
    case 'Missing':
    case 'Corrupt':
    case 'Deleted':
      return { kind: 'Bad', message: result.message };
    case 'Unavailable':
    case 'Unauthorized':
    case 'Unsupported': {
      const left = registryRetryMs - age;
      // The result of a new try wakes the sandbox, and may be long in coming: the registry is asked less and less often.
      return left > 0
        ? { kind: 'Unavailable', message: result.message, work: undefined, lookAgainMs: left }
        : { kind: 'Unavailable', message: result.message, work, lookAgainMs: registryRetryMs };
    }
  }
}

/** The newest thing that is known of a backup in the registry, whoever asked: undefined when nobody has looked. */
export function newestLook(registry: readonly RegistryResult[], sought: Sought, depth: 'Meta' | 'Full'): RegistryResult | undefined {
  return registry
    .filter(({ work }) => work.kind === 'Verify' && isSame(work, sought))
    .filter(({ work, outcome }) => depth === 'Meta' || (work.kind === 'Verify' && work.depth === 'Full') || isBad(outcome))
    .reduce<RegistryResult | undefined>((newest, one) => (newest === undefined || one.at > newest.at ? one : newest), undefined);
}

function isSame(one: Sought, other: Sought): boolean {
  return one.digest === other.digest && one.repository === other.repository && one.contentVersion === other.contentVersion;
}

export function isBad(outcome: RegistryResult['outcome']): boolean {
  return outcome === 'Missing' || outcome === 'Corrupt';
}
