import { type Dirent, readdirSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Everything below a directory, at every depth; nothing when there is no such directory. What vanishes while it is read is left out, alone:
 * beside it nothing is missing.
 */
export function entriesBelow(directory: string): readonly Dirent[] {
  const entries = entriesIn(directory);
  const directories = entries.filter((entry) => entry.isDirectory());
  return [...entries, ...directories.flatMap(({ parentPath, name }) => entriesBelow(join(parentPath, name)))];
}

/** A cgroup that is removed while it is read says so in a way of its own. */
function entriesIn(directory: string): readonly Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENODEV') return [];
    throw error;
  }
}
