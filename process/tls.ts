import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { isAborted } from './abort.ts';
import { sleep } from './clock.ts';
import type { Clock } from './clock.ts';
import { BerthError, messageOf } from './errors.ts';
import type { Logger } from './log.ts';

export interface TlsFiles {
  /** PEM files. A certificate needs its key. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** The authorities that the other end must be certified by. */
  readonly caFile?: string | undefined;
}

/** Certificate, key and authorities that belong together. */
export interface TlsMaterial {
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
  readonly ca: Buffer | undefined;
}

export interface TlsReloaderOptions {
  readonly files: TlsFiles;
  readonly clock: Clock;
  readonly log: Logger;
  /** The files are compared this often: mounted Secrets are replaced by renaming a directory, which file events miss. Default 10,000 ms. */
  readonly intervalMs?: number;
}

/** TLS material that follows its files. */
export interface TlsReloader {
  /** What is valid now. */
  current(): TlsMaterial;
  /** Tells of new material from now on: give it to `server.setSecureContext`. Returns the unsubscriber. */
  onChange(listener: (material: TlsMaterial) => void): () => void;
  /** Compares the files until the signal is aborted. Files that do not fit together are logged, and the old material stays. */
  run(signal: AbortSignal): Promise<void>;
}

/** Reads the files for the first time. Rejects with `TlsFiles`, naming what is wrong. */
export async function loadTls(options: TlsReloaderOptions): Promise<TlsReloader> {
  const { files, clock, log, intervalMs = 10_000 } = options;
  const listeners = new Set<(material: TlsMaterial) => void>();
  let current = await readMaterial(files);

  const reload = async () => {
    const next = await readMaterial(files);
    if (sameMaterial(current, next)) return;
    current = next;
    log.info({ ...files }, 'TLS files reloaded');
    for (const listener of [...listeners]) listener(next);
  };

  return {
    current: () => current,
    onChange: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    run: async (signal) => {
      while (!isAborted(signal)) {
        await sleep(clock, intervalMs, signal).catch(() => undefined);
        if (isAborted(signal)) return;
        await reload().catch((err: unknown) => log.error({ err }, 'TLS files not reloaded, the old ones stay in use'));
      }
    },
  };
}

async function readMaterial({ certFile, keyFile, caFile }: TlsFiles): Promise<TlsMaterial> {
  const [cert, key, ca] = await Promise.all([certFile, keyFile, caFile].map(readPem));
  if ((cert === undefined) !== (key === undefined)) {
    throw new BerthError('TlsFiles', 'A TLS certificate and its key are needed together: name both files or neither.');
  }
  try {
    createSecureContext({ cert, key, ca });
  } catch (cause) {
    const named = [certFile, keyFile, caFile].filter((file) => file !== undefined).join(', ');
    throw new BerthError(
      'TlsFiles',
      `The TLS files ${named} cannot be used: ${messageOf(cause)}. The key must belong to the certificate.`,
      { cause },
    );
  }
  return { cert, key, ca };
}

async function readPem(file: string | undefined): Promise<Buffer | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file);
  } catch (cause) {
    throw new BerthError('TlsFiles', `The TLS file ${file} cannot be read: ${messageOf(cause)}.`, { cause });
  }
}

function sameMaterial(a: TlsMaterial, b: TlsMaterial): boolean {
  const same = (x: Buffer | undefined, y: Buffer | undefined) => (x === undefined || y === undefined ? x === y : x.equals(y));
  return same(a.cert, b.cert) && same(a.key, b.key) && same(a.ca, b.ca);
}
