import { readFile } from 'node:fs/promises';
import { isAborted } from '../../process/abort.ts';
import { sleep, type Clock } from '../../process/clock.ts';
import { BerthError, messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import type { RegistryCredential } from '../../process/registry-credential.ts';
import { readDockerConfig } from './docker-config.ts';

export interface CredentialsFileOptions {
  /** A docker configuration file: `.dockerconfigjson` of a Secret. */
  readonly file: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** It is read again this often: mounted Secrets are replaced by renaming a directory, which file events miss. Default 10,000 ms. */
  readonly intervalMs?: number;
}

/** The operator's own credentials for the registry of backups, which follow their file. */
export interface CredentialsFile {
  current(): readonly RegistryCredential[];
  /** Reads the file again and again until the signal is aborted. One that can not be read is logged, and the old credentials stay. */
  run(signal: AbortSignal): Promise<void>;
}

/** Reads the file for the first time. Rejects with `CredentialsFile`. */
export async function loadCredentials({ file, clock, log, intervalMs = 10_000 }: CredentialsFileOptions): Promise<CredentialsFile> {
  let current = await read(file);
  const reload = async () => {
    const next = await read(file);
    if (JSON.stringify(next) === JSON.stringify(current)) return;
    current = next;
    log.info({ file, credentials: next.length }, 'Credentials for backups read again');
  };
  return {
    current: () => current,
    run: async (signal) => {
      while (!isAborted(signal)) {
        await sleep(clock, intervalMs, signal).catch(() => undefined);
        if (isAborted(signal)) return;
        await reload().catch((err: unknown) => log.error({ err }, 'Credentials for backups not read again, the old ones stay in use'));
      }
    },
  };
}

async function read(file: string): Promise<readonly RegistryCredential[]> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new BerthError('CredentialsFile', `The file ${file} with credentials for backups can not be read: ${messageOf(cause)}.`);
  });
  const credentials = readDockerConfig(text);
  if (credentials === undefined)
    throw new BerthError(
      'CredentialsFile',
      `The file ${file} with credentials for backups is no docker configuration file: write auths as in a Secret of type kubernetes.io/dockerconfigjson.`,
    );
  return credentials;
}
