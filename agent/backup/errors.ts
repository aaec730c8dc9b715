import { AttemptError } from '../copies/attempt-error.ts';
import type { AttemptErrorCode } from '../copies/runtime.ts';
import { withoutQueries } from '../containerd/containerd-error.ts';
import { pullError } from '../images/pull-errors.ts';
import { BackupError } from './backup-error.ts';

/** Why the files of a copy could not be read, from containerd's text: certain, and nothing is left of it. */
export function readError(said: string, cause?: unknown): BackupError {
  const options = { cause, details: { said } };
  return /no space left on device|disk quota exceeded/i.test(said)
    ? new BackupError('OutOfDisk', "The runner's disk has no room for the backup. The files of the sandbox are as they were.", options)
    : new BackupError('BackupFailed', `The files could not be read: ${firstLine(said)}`, options);
}

/** Why a backup could not be sent to the registry, from containerd's text. */
export function pushError(reference: string, host: string, said: string, cause?: unknown): BackupError {
  const options = { cause, details: { reference, host, said } };
  switch (pullError(reference, host, said).code) {
    case 'RegistryUnavailable':
      return new BackupError('RegistryUnavailable', `The registry ${host} does not take the backup: ${firstLine(said)}`, options);
    case 'ImageUnauthorized':
      return new BackupError(
        'ImageUnauthorized',
        `The registry ${host} refuses the backup: its credentials may not push ${reference}.`,
        options,
      );
    default:
      return new BackupError('BackupFailed', `The backup could not be sent to ${host}: ${firstLine(said)}`, options);
  }
}

const ofBackups: Readonly<Partial<Record<AttemptErrorCode, readonly [AttemptErrorCode, (backup: string) => string]>>> = {
  ImageNotFound: ['BackupNotFound', (backup) => `The registry has no backup ${backup}.`],
  ImageUnsuitable: ['BackupCorrupt', (backup) => `The backup ${backup} is damaged, or is none.`],
  ImageUnauthorized: ['ImageUnauthorized', (backup) => `The registry refuses to give the backup ${backup}.`],
  OutOfDisk: ['OutOfDisk', (backup) => `The runner's disk has no room for the backup ${backup}.`],
};

/** What hinders a pull hinders a restore, by another name. Bytes that are not those of the digest are what is wrong with a backup, not with the way here. */
export function restoreError(backup: string, error: unknown): unknown {
  if (!(error instanceof AttemptError)) return error;
  const said = typeof error.details.said === 'string' ? error.details.said : '';
  const code = /unexpected commit (digest|size)|failed size validation|wrong diff id|invalid tar header/i.test(said)
    ? 'ImageUnsuitable'
    : error.code;
  const [known, sentence] = ofBackups[code] ?? [];
  if (known === undefined || sentence === undefined) return error;
  return new AttemptError(known, sentence(backup), { cause: error, details: error.details });
}

function firstLine(text: string): string {
  return withoutQueries(text.split('\n')[0] ?? '').slice(0, 300);
}
