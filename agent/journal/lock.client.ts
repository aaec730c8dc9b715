import { randomUUID } from 'node:crypto';
import { link, open, readdir, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { BerthError } from '../../process/errors.ts';

/** The directory is this process's until it is released, or the process is gone. */
export interface DirectoryLock {
  release(): Promise<void>;
}

const lockName = 'agent.lock';

/**
 * Takes a directory for this process alone. The lock is a listening socket: the kernel closes it with the process, however it ends, so that
 * a crash leaves nothing that looks held.
 * @throws BerthError `StateDirInUse`
 */
export async function lockDirectory(path: string): Promise<DirectoryLock> {
  const directory = await open(path, 'r');
  try {
    // Socket paths are bounded to 108 bytes; through the open directory every one is short.
    const inside = (name: string) => `/proc/self/fd/${directory.fd}/${name}`;
    await clearRemains(path);
    const own = `${lockName}.${randomUUID().slice(0, 8)}`;
    const server = await listen(inside(own));
    if (await take(path, own, inside)) return held(server, directory, path, own);
    await close(server);
    await rm(join(path, own), { force: true });
    throw new BerthError(
      'StateDirInUse',
      `Another agent uses the state directory ${path}: end it, or give this one a directory, a containerd and a node name of its own.`,
      { details: { path } },
    );
  } catch (error) {
    await directory.close();
    throw error;
  }
}

/** Only one can make the link; a link whose socket nobody listens on is left over from one that crashed. */
async function take(path: string, own: string, inside: (name: string) => string): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt++) {
    if (await linked(join(path, own), join(path, lockName))) return true;
    if (await answers(inside(lockName))) return false;
    const aside = `${lockName}.old.${randomUUID().slice(0, 8)}`;
    await rename(join(path, lockName), join(path, aside)).catch(unlessMissing);
    const wasTaken = await answers(inside(aside));
    if (wasTaken) await linked(join(path, aside), join(path, lockName));
    await rm(join(path, aside), { force: true });
    if (wasTaken) return false;
  }
  return false;
}

function held(server: Server, directory: FileHandle, path: string, own: string): DirectoryLock {
  return {
    release: async () => {
      await rm(join(path, lockName), { force: true });
      await rm(join(path, own), { force: true });
      await close(server);
      await directory.close();
    },
  };
}

/** Sockets of processes that ended before they could take the lock or after they had it. */
async function clearRemains(path: string): Promise<void> {
  const names = (await readdir(path)).filter((name) => name.startsWith(`${lockName}.`));
  const directory = await open(path, 'r');
  try {
    for (const name of names) {
      if (!(await answers(`/proc/self/fd/${directory.fd}/${name}`))) await rm(join(path, name), { force: true });
    }
  } finally {
    await directory.close();
  }
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen(path, () => {
      server.unref();
      resolve(server);
    });
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

function unlessMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
