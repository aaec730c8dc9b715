import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Runner } from '../harness/runner.ts';
import { containerOf } from './lying-on.ts';

/** Runs a shell script on the runner's machine, in the files of a sandbox that does not run: `.` is their root. Returns what it printed. */
export async function inFilesOf(runner: Runner, uid: string, script: string): Promise<string> {
  const { namespace, id } = await containerOf(runner, uid);
  const place = join(runner.dataDir, 'tmp', `look-${randomUUID()}`);
  const mount = (await runner.ctr(namespace, 'snapshots', 'mounts', place, id)).trim();
  const steps = [
    `mkdir -p ${place}`,
    mount,
    `cd ${place}`,
    `(${script})`,
    'code=$?',
    'cd /',
    `umount ${place}`,
    `rmdir ${place}`,
    'exit $code',
  ];
  return runner.exec('sh', '-c', steps.join('\n'));
}

/** Every file below the root of a sandbox that does not run: name, kind, mode, owner, links, device, seconds of change, content by hash, capabilities. */
export async function treeOf(runner: Runner, uid: string): Promise<readonly string[]> {
  const script = [
    `find . -mindepth 1 -exec stat -c '%n %F %a %u:%g %t:%T %Y' {} +`,
    `find . -type l -exec stat -c 'link %N' {} +`,
    `find . -type f -exec stat -c 'file %n %h %s' {} +`,
    'find . -type f -exec sha256sum {} +',
    'getcap -r .',
  ];
  return (await inFilesOf(runner, uid, script.join(' && ')))
    .split('\n')
    .filter((line) => line !== '')
    .toSorted();
}
