import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../hack/command.ts';
import { withLock } from '../../hack/lock.ts';
import { toStderr } from '../../hack/progress.ts';
import { cacheDirectory, install, isExecutable, keyOf } from '../../hack/toolchain/cache.ts';
import { demoImage, type Image, withLayer } from './images.ts';

/** The demo image with /bin/probe, which tries what a sandbox must not do and prints how each system call was answered. */
export async function probeImage(): Promise<Image> {
  const program = readFileSync(await compiledProbe());
  return withLayer(await demoImage(), [{ path: 'bin/probe', type: 'file', mode: 0o755, content: program }]);
}

async function compiledProbe(): Promise<string> {
  const source = join(import.meta.dirname, 'probe');
  const files = ['go.mod', 'main.go', 'numbers_amd64.go', 'numbers_arm64.go'].map((name) => join(source, name));
  const directory = join(cacheDirectory(), `probe-${await keyOf(files, [])}`);
  const path = join(directory, 'probe');
  await withLock(`${directory}.lock`, toStderr, async () => {
    if (await isExecutable(path)) return;
    const env = { CGO_ENABLED: '0', GOWORK: 'off', GOFLAGS: '' };
    await install(directory, ['probe'], async (scratch) => {
      await run('go', ['build', '-trimpath', '-buildvcs=false', '-ldflags', '-s -w', '-o', join(scratch, 'probe'), '.'], {
        cwd: source,
        env,
      });
    });
  });
  return path;
}
