import { constants } from 'node:fs';
import { open, readFile, rename, rm, stat, statfs } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';

/** What a journal needs of a file system: a port, so that tests can fill the disk. Rejects with the system's own errors. */
export interface JournalFiles {
  /** Empty when there is no such file. */
  read(path: string): Promise<string>;
  /** Opens a file for writing and makes it when it is not there. `Emptied` cuts what is there. */
  open(path: string, how: 'Kept' | 'Emptied'): Promise<JournalFile>;
  /** Puts the file in the place of another; it is on the disk when this resolves. */
  replace(path: string, by: string): Promise<void>;
  /** Does nothing when there is no such file. */
  remove(path: string): Promise<void>;
  /** 0 when there is no such file. */
  size(path: string): Promise<number>;
  /** What ordinary processes may still write to the file system of this file, in bytes. */
  free(path: string): Promise<number>;
}

export interface JournalFile {
  /** Writes all of it at this place, or rejects and may have written a part. */
  write(bytes: Uint8Array, at: number): Promise<void>;
  truncate(length: number): Promise<void>;
  /** Resolves when what was written is on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Whether a write failed because there is no room, or no more for this user. */
export function isNoRoom(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

export const nodeFiles: JournalFiles = {
  read: async (path) => (await readFile(path, 'utf8').catch(unlessMissing)) ?? '',
  open: async (path, how) => {
    const cut = how === 'Emptied' ? constants.O_TRUNC : 0;
    return fileOf(await open(path, constants.O_RDWR | constants.O_CREAT | cut, 0o600));
  },
  replace: async (path, by) => {
    await rename(by, path);
    await syncDirectory(dirname(path));
  },
  remove: (path) => rm(path, { force: true }),
  size: async (path) => (await stat(path).catch(unlessMissing))?.size ?? 0,
  free: async (path) => {
    const { bavail, bsize } = await statfs(dirname(path));
    return bavail * bsize;
  },
};

function fileOf(handle: FileHandle): JournalFile {
  return {
    write: async (bytes, at) => {
      for (let done = 0; done < bytes.length;) {
        const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, at + done);
        done += bytesWritten;
      }
    },
    truncate: (length) => handle.truncate(length),
    sync: () => handle.datasync(),
    close: () => handle.close(),
  };
}

/** A rename is on the disk only when its directory is. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function unlessMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  return undefined;
}
