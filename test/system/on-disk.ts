import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Runner } from '../harness/runner.ts';
import { containerOf } from './lying-on.ts';

/** The lines of a file that a sandbox wrote, read from its snapshot on the disk: nothing of the sandbox has to run. Empty when it wrote none. */
export async function writtenBy(runner: Runner, uid: string, path: string): Promise<readonly string[]> {
  const { namespace, id } = await containerOf(runner, uid);
  const mount = await runner.ctr(namespace, 'snapshots', 'mounts', '/nowhere', id);
  const upper = /upperdir=([^,\s]+)/.exec(mount)?.[1];
  if (upper === undefined) throw new Error(`the snapshot of ${id} is not an overlay: ${mount}`);
  const file = join(upper, path);
  return existsSync(file)
    ? readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
    : [];
}
