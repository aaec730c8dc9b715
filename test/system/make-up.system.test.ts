import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { local, localPorts } from '../../hack/local/instance.ts';
import { ensureTools } from '../../hack/toolchain/toolchain.ts';
import { ledgerPath, readLedger } from '../harness/ledger.ts';
import { processesMarked } from '../harness/processes.ts';
import { startTimeoutMs } from './world.ts';

const repository = join(import.meta.dirname, '..', '..');
const quickStart = readFileSync(join(repository, 'README.md'), 'utf8')
  .split(/^## /m)
  .find((part) => part.startsWith('Quick start'));
const commands = [...(quickStart ?? '').matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block = '']) => block).join('\n');

/** Somebody's local Berth on this machine is not touched. */
const occupied = existsSync(ledgerPath(local.stateDir));

(occupied ? describe.skip : describe)('make up and make down', () => {
  const shell = async (script: string) => {
    const { kubectl } = await ensureTools(() => undefined, ['kubectl']);
    const { exitCode, all } = await execa('bash', ['-e', '-u', '-c', script], {
      cwd: repository,
      env: { PATH: `${process.env.PATH ?? ''}:${dirname(kubectl)}` },
      reject: false,
      all: true,
    });
    return { exitCode, all };
  };
  afterAll(() => shell('make down'), startTimeoutMs);

  it(
    'says which port is in use, by what, and the way out',
    async () => {
      const server = createServer().listen(localPorts().registry, '127.0.0.1');
      const { exitCode, all } = await shell('make up').finally(() => server.close());
      expect(exitCode).not.toBe(0);
      expect(all).toMatch(new RegExp(`^berth: Port ${String(localPorts().registry)}, .* is used by process ${process.pid} .*\\.$`, 'm'));
    },
    startTimeoutMs,
  );

  it(
    'may be repeated, and the quick start of the README works as written',
    async () => {
      expect(commands).toContain('make up');
      expect(await shell(commands)).toMatchObject({ exitCode: 0 });
      const parts = readLedger(local.stateDir)?.parts;
      expect(await shell('make up')).toMatchObject({ exitCode: 0 });
      expect(readLedger(local.stateDir)?.parts).toEqual(parts);
    },
    startTimeoutMs,
  );

  it(
    'make down leaves nothing',
    async () => {
      expect(await shell('make down')).toMatchObject({ exitCode: 0 });
      expect(processesMarked(local.stateDir)).toEqual([]);
      expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(`berth-${local.instance}`);
      const { stdout } = await execa('find', ['/sys/fs/cgroup', '-type', 'd', '-name', `berth-${local.instance}`], { reject: false });
      expect(stdout).toBe('');
      for (const path of [local.stateDir, local.dataDir]) expect(existsSync(path)).toBe(false);
    },
    startTimeoutMs,
  );
});
