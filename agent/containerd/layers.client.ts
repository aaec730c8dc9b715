import { constants, type Stats } from 'node:fs';
import { lstat, open, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Mount } from './gen/types/mount.ts';
import { layersOf } from './layers.ts';

/** Files that are read are small; a larger one is nobody's /etc/passwd. */
const largestFile = 2 ** 20;
const mostSymlinks = 40;

/**
 * Reads a file as a container on these mounts would see it, without mounting anything: symbolic links are followed inside the container's
 * root only. Undefined when there is no such regular file, or when the snapshotter has no directories to look into. Rejects when a layer
 * cannot be read.
 */
export async function readInRoot(mounts: readonly Mount[], path: string): Promise<string | undefined> {
  const found = await findInRoot(mounts, path);
  return found.kind === 'File' ? read(found.path) : undefined;
}

/** A file as a container would see it: where it lies on the machine. */
export type InRoot = { readonly kind: 'File'; readonly path: string } | { readonly kind: 'Missing' | 'NotRegular' };

/** As `readInRoot`, for files of any size. Nothing must run on these mounts while the file is read. */
export function findInRoot(mounts: readonly Mount[], path: string): Promise<InRoot> {
  return find(layersOf(mounts), segments(path), mostSymlinks);
}

/** Overlay semantics, one directory at a time: `layers` are the directories, uppermost first, that together are the current one. */
async function find(root: readonly string[], wanted: readonly string[], symlinks: number): Promise<InRoot> {
  const walked: string[] = [];
  let layers = root;
  for (const [index, name] of wanted.entries()) {
    const rest = wanted.slice(index + 1);
    const found = await lookUp(layers, name);
    if (found === undefined) return { kind: 'Missing' };
    if (found.kind === 'directory') {
      layers = found.layers;
      walked.push(name);
    } else if (found.kind === 'link') {
      const target = resolveInside(walked, await readlink(found.path));
      return symlinks === 0 ? { kind: 'Missing' } : find(root, [...target, ...rest], symlinks - 1);
    } else {
      return rest.length === 0 ? { kind: 'File', path: found.path } : { kind: 'Missing' };
    }
  }
  return { kind: 'NotRegular' };
}

type Found = { readonly kind: 'directory'; readonly layers: readonly string[] } | { readonly kind: 'link' | 'file'; readonly path: string };

async function lookUp(layers: readonly string[], name: string): Promise<Found | undefined> {
  const directories: string[] = [];
  for (const layer of layers) {
    const path = join(layer, name);
    const stats = await statOf(path);
    if (stats === undefined) continue;
    if (stats.isDirectory()) {
      directories.push(path);
      continue;
    }
    // A file below a directory is hidden by it, a whiteout (character device 0:0) hides what is below.
    if (directories.length > 0 || !(stats.isSymbolicLink() || stats.isFile())) break;
    return { kind: stats.isSymbolicLink() ? 'link' : 'file', path };
  }
  return directories.length > 0 ? { kind: 'directory', layers: directories } : undefined;
}

/**
 * Undefined only when there is certainly nothing under this name. Any other failure is thrown: taken for absence it would show what the
 * layer hides.
 */
async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (absent.has((error as NodeJS.ErrnoException).code)) return undefined;
    throw error;
  }
}

const absent: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG']);

async function read(path: string): Promise<string | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { size } = await file.stat();
    return size > largestFile ? undefined : await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

function segments(path: string): readonly string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

/** The target of a link that lies in the directory `from`, both as segments below the root; `..` never leaves it. */
function resolveInside(from: readonly string[], target: string): readonly string[] {
  const start = target.startsWith('/') ? [] : from;
  return segments(target).reduce<readonly string[]>((path, part) => (part === '..' ? path.slice(0, -1) : [...path, part]), start);
}
