import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { remainsOf, sweep } from '../../test/harness/sweep.ts';
import { main } from '../fail.ts';
import { withLock } from '../lock.ts';
import { elapsed, toStderr } from '../progress.ts';
import { binDirectory, kubeconfigFile, local, lockFile, requireRoot } from './instance.ts';

/** `make down`: removes everything that `make up` made, however it ended. The cache of compiled tools stays. */
await main(async () => {
  requireRoot('down');
  const begin = performance.now();
  await withLock(lockFile, toStderr, async () => {
    const found = remainsOf(local).length > 0 || existsSync(kubeconfigFile);
    await sweep(local);
    await rm(kubeconfigFile, { force: true });
    await rm(binDirectory, { recursive: true, force: true });
    console.log(found ? `removed in ${elapsed(begin)}` : 'there is no local Berth; nothing to remove');
  });
});
