import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BerthError } from '../process/errors.ts';
import { isAbandoned, knownInstances } from '../test/harness/ledger.ts';
import { commandLine, killAll, processesInSession, type ProcessRef } from '../test/harness/processes.ts';
import { holdsSecret } from '../test/harness/secret-marker.ts';
import { remainsOf, sweep } from '../test/harness/sweep.ts';
import { main } from './fail.ts';
import { local } from './local/instance.ts';
import { seconds } from './progress.ts';
import { table } from './table.ts';

/** The parts of `make test` in their order. A part that takes longer than its bound is ended and counts as failed. */
const parts = [
  { name: 'verify', target: ['verify'], boundMinutes: 5 },
  { name: 'lint', target: ['lint'], boundMinutes: 10 },
  { name: 'typecheck', target: ['typecheck'], boundMinutes: 5 },
  { name: 'unit', target: ['test-unit'], boundMinutes: 10 },
  { name: 'simulation', target: ['simulate', 'SEEDS=1000', 'SMALL=1'], boundMinutes: 15 },
  { name: 'simulation of hours', target: ['simulate', 'SEEDS=100'], boundMinutes: 30 },
  { name: 'build', target: ['build'], boundMinutes: 5 },
  { name: 'toolchain', target: ['toolchain'], boundMinutes: 60 },
  { name: 'system', target: ['test-system'], boundMinutes: 70 },
] as const;
type Part = (typeof parts)[number];

interface Result {
  readonly name: string;
  readonly result: 'passed' | 'failed' | 'not run';
  readonly ms: number;
  readonly why?: string;
}

const repository = join(import.meta.dirname, '..');
/** The logs of every instance that the tests start, for the reader of a failure. */
const logs = join(repository, '.local', 'test-logs');

/** `make test`: runs every part until one fails, cleans up, checks that nothing is left, and says what each part took. */
await main(async () => {
  if (process.getuid?.() !== 0)
    throw new BerthError(
      'NotRoot',
      'The system tests need root (private containerd, mounts, cgroups): run "sudo make test". "make test-unit" needs nothing.',
    );
  await rm(logs, { recursive: true, force: true });
  const before = knownInstances().map(({ instance }) => instance);
  const results: Result[] = [];
  for (const part of parts) results.push(results.some(({ result }) => result === 'failed') ? notRun(part) : await runPart(part));
  const left = await namedLeftovers(before);
  results.push({ name: 'nothing left', result: left.length === 0 ? 'passed' : 'failed', ms: 0, why: left.join('\n') });
  const told = logsWithSecrets();
  results.push({ name: 'no secret told', result: told.length === 0 ? 'passed' : 'failed', ms: 0, why: told.join('\n') });

  const rows = results.map(({ name, result, ms }) => [name, result, result === 'not run' ? '' : seconds(ms)]);
  const total = results.reduce((sum, { ms }) => sum + ms, 0);
  console.log(`\n${table(['PART', 'RESULT', 'TIME'], [...rows, ['total', '', seconds(total)]])}\n`);
  if (before.includes(local.instance))
    console.log('Left out: the tests of "make up", because a local Berth is up on this machine ("make down" removes it).\n');
  const failed = results.find(({ result }) => result === 'failed');
  if (failed !== undefined) throw new BerthError('TestsFailed', `"${failed.name}" failed: ${failed.why ?? ''}`);
});

function notRun({ name }: Part): Result {
  return { name, result: 'not run', ms: 0 };
}

/** Runs a part in a session of its own, so that what it leaves running can be found. */
async function runPart({ name, target, boundMinutes }: Part): Promise<Result> {
  console.log(`\n=== ${name}: make ${target.join(' ')}`);
  const begin = performance.now();
  const child = spawn('make', ['--no-print-directory', ...target], {
    cwd: repository,
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
    env: { ...process.env, BERTH_KEEP_LOGS: logs },
  });
  const why = await outcome(child, boundMinutes);
  const left = await lingering(child.pid ?? 0);
  const names = left.map(({ pid }) => `process ${pid} (${commandLine(pid).join(' ').slice(0, 80)})`);
  await killAll(left);
  const ms = performance.now() - begin;
  if (why !== undefined) return { name, result: 'failed', ms, why };
  return names.length === 0 ? { name, result: 'passed', ms } : { name, result: 'failed', ms, why: `it left running: ${names.join('; ')}` };
}

/** What still runs of a session when what is about to end has had time to do so. */
async function lingering(session: number): Promise<readonly ProcessRef[]> {
  const end = performance.now() + 5_000;
  while (processesInSession(session).length > 0 && performance.now() < end) await delay(50);
  return processesInSession(session);
}

/** Undefined when the part passed, else why not. An interrupt from the keyboard is passed on, so that parts can clean up. */
async function outcome(child: ChildProcess, boundMinutes: number): Promise<string | undefined> {
  const signalGroup = (signal: NodeJS.Signals) => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) process.kill(-child.pid, signal);
  };
  const state = { why: undefined as string | undefined };
  const end = (why: string) => {
    state.why = why;
    signalGroup('SIGTERM');
    setTimeout(() => signalGroup('SIGKILL'), 30_000).unref();
  };
  const timer = setTimeout(() => end(`it took longer than ${boundMinutes} minutes`), boundMinutes * 60_000);
  const interrupt = () => end('it was interrupted');
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    return (
      state.why ?? (code === 0 ? undefined : `it ended with ${code === null ? String(signal) : `status ${code}`}; its output is above`)
    );
  } finally {
    clearTimeout(timer);
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

/** Every log of every part of every instance that the tests started. */
function logsWithSecrets(): readonly string[] {
  if (!existsSync(logs)) return [];
  return readdirSync(logs, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => holdsSecret(readFileSync(path, 'utf8')))
    .map((path) => `${path} holds a secret`);
}

/**
 * What the tests have left of instances, named; what nobody will stop any more is removed. An instance that is meant to stay and that did not
 * run before is named too, but only its maker knows whether it may go.
 */
async function namedLeftovers(before: readonly string[]): Promise<readonly string[]> {
  const abandoned = knownInstances().filter(isAbandoned);
  const found = abandoned.flatMap((ledger) => remainsOf(ledger).map((line) => `${ledger.instance}: ${line}`));
  for (const ledger of abandoned) await sweep(ledger);
  const staying = knownInstances().filter(({ owner, instance }) => owner === undefined && !before.includes(instance));
  return [...found, ...staying.map(({ instance }) => `the instance "${instance}", which "make down" removes`)];
}
