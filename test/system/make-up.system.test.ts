import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { local, localPorts } from '../../hack/local/instance.ts';
import { ledgerPath, readLedger } from '../harness/ledger.ts';
import { processesMarked } from '../harness/processes.ts';
import { startTimeoutMs } from './world.ts';

const repository = join(import.meta.dirname, '..', '..');
const quickStart = readFileSync(join(repository, 'README.md'), 'utf8')
  .split(/^## /m)
  .find((part) => part.startsWith('Quick start'));
const commands = [...(quickStart ?? '').matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block = '']) => block).join('\n');

const setUp = commands.match(/^export .*$/gm)?.join('\n') ?? '';

/** Somebody's local Berth on this machine is not touched. */
const occupied = existsSync(ledgerPath(local.stateDir));

(occupied ? describe.skip : describe)('make up and make down', () => {
  /** A machine whose own kubectl is too old to use, as good as none. */
  const machine = mkdtempSync(join(tmpdir(), 'berth-make-up-'));
  writeFileSync(join(machine, 'kubectl'), '#!/bin/sh\necho "Client Version: v1.20.0"\n[ "$1" = version ]\n', { mode: 0o755 });
  const shell = async (script: string) => {
    const { exitCode, all } = await execa('bash', ['-e', '-u', '-c', script], {
      cwd: repository,
      env: { PATH: `${machine}:${process.env.PATH ?? ''}` },
      reject: false,
      all: true,
    });
    return { exitCode, all };
  };
  afterAll(async () => {
    await shell('make down');
    rmSync(machine, { recursive: true, force: true });
  }, startTimeoutMs);

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
    'runs as many operators as it is told to, and remembers how many',
    async () => {
      const connected = (summary: string) =>
        shell(`${setUp}\nkubectl wait runner/runner-1 --for=jsonpath='{.status.connections.summary}'=${summary} --timeout=180s`);
      expect(await shell('make up REPLICAS=2')).toMatchObject({ exitCode: 0 });
      expect(await connected('2/2')).toMatchObject({ exitCode: 0 });
      expect(await shell('make up')).toMatchObject({ exitCode: 0 });
      expect(await connected('2/2')).toMatchObject({ exitCode: 0 });
      expect(await shell('make up REPLICAS=1')).toMatchObject({ exitCode: 0 });
      expect(await connected('1/1')).toMatchObject({ exitCode: 0 });
      expect(Object.keys(readLedger(local.stateDir)?.parts ?? {}).filter((name) => name.startsWith('operator-'))).toEqual(['operator-1']);
    },
    startTimeoutMs,
  );

  it(
    "repeats with the user's own demo, whatever became of it",
    async () => {
      const patch = JSON.stringify({ spec: { command: ['/no-such-program'], restartID: 'broken' } });
      expect(await shell(`${setUp}\nkubectl patch sandbox demo --type=merge -p '${patch}'`)).toMatchObject({ exitCode: 0 });
      expect(await shell(`${setUp}\nkubectl wait sandbox/demo --for=jsonpath='{.status.state}'=Error --timeout=180s`)).toMatchObject({
        exitCode: 0,
      });
      const again = await shell('make up');
      expect(again).toMatchObject({ exitCode: 0 });
      expect(again.all).toMatch(/^sandbox demo: \w+.* \(made by an earlier run, left as it is\)$/m);
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
