import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Sandbox } from '../../crds/index.ts';
import { added, livingOn } from '../harness/leftovers.ts';
import { remembering } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { backupsIn, blobFile, lastLayerOf, newestBackup as newest } from './registry-of.ts';
import { startTimeoutMs, World } from './world.ts';

const isBackedUp = ({ status }: Sandbox) => status.conditions.some(({ type, reason }) => type === 'BackedUp' && reason === 'BackupCurrent');

describe('a sandbox whose runner is cordoned', () => {
  let world: World;
  let clean: ReadonlyMap<string, readonly string[]>;
  beforeAll(async () => {
    world = await World.start({ backups: true, runners: ['runner-1', 'runner-2'], operatorEnv: { BERTH_PATIENCE_SECONDS: '2' } });
    clean = new Map(await Promise.all(world.cluster.runners.map(async (runner) => [runner.name, await livingOn(runner)] as const)));
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const stopped = async (name: string) => {
    await world.user.patch({ name }, { desiredState: 'Stopped' });
    return world.user.until({ name }, 'is stopped and backed up', (sandbox) => sandbox.status.state === 'Stopped' && isBackedUp(sandbox));
  };
  const started = async (name: string) => {
    await world.user.patch({ name }, { desiredState: 'Started' });
    return world.user.untilState({ name }, 'Started');
  };
  const cordon = (runner: string | undefined, unschedulable = true) => world.user.patchRunner(runner ?? '', { unschedulable });
  const nothingIsLeftOn = (name = '') => {
    const last: { left: readonly string[] } = { left: [] };
    const look = async () => {
      last.left = added(clean.get(name) ?? [], await livingOn(world.cluster.runner(name)));
      return last.left.length === 0 ? true : undefined;
    };
    return eventually(`nothing is left on ${name}`, look, () => last.left);
  };
  const create = async (name: string, spec: object = {}) => {
    const manifest = remembering(name, world.image);
    await world.user.create({ ...manifest, spec: { ...manifest.spec, ...spec } });
    return world.user.untilState({ name }, 'Started');
  };
  it('moves with its files, pulls them from the registry, leaves nothing behind, and back again brings what was written there', async () => {
    const first = await create('mover');
    const [origin, runners] = [first.status.runnerName, world.cluster.runners.map(({ name }) => name)];
    const target = runners.find((name) => name !== origin);
    const backup = newest(await stopped('mover'));
    const layer = await lastLayerOf(world.cluster.registry, backup);
    await cordon(origin);
    const asked = world.cluster.registry.accessLog().length;
    const moved = await started('mover');
    expect(moved.status).toMatchObject({ runnerName: target, prevRunnerName: origin, assignment: { reason: 'RunnerUnschedulable' } });
    expect(await world.boots('mover', 2)).toBe(2);
    expect(
      world.cluster.registry
        .accessLog()
        .slice(asked)
        .some((line) => line.includes('GET ') && line.includes(layer)),
    ).toBe(true);
    await world.user.until({ name: 'mover' }, 'has no release left', ({ status }) => status.releases.length === 0);
    await nothingIsLeftOn(origin);

    await stopped('mover');
    await cordon(origin, false);
    await cordon(target);
    const back = await started('mover');
    expect(back.status).toMatchObject({ runnerName: origin, prevRunnerName: target });
    expect(await world.boots('mover', 3)).toBe(3);
    await world.user.until({ name: 'mover' }, 'has no release left', ({ status }) => status.releases.length === 0);
    await nothingIsLeftOn(target);
    const [operator] = world.cluster.operators;
    const considered = {
      ...{ sandboxId: back.metadata.uid, currentRunnerId: target, prevRunnerId: origin },
      ...{ runnerUnschedulable: true, backupState: 'BackupCurrent' },
    };
    const lines = (operator?.log() ?? '').split('\n').filter((line) => line.includes('"Processing sandbox runner assignment"'));
    expect(lines.map((line) => JSON.parse(line) as object)).toContainEqual(expect.objectContaining(considered));
    const metrics = await (await fetch(`${operator?.healthUrl ?? ''}/metrics`)).text();
    expect(metrics).toMatch(/^berth_sandbox_migrations_total\{reason="RunnerUnschedulable",result="Succeeded"\} 2$/m);
    expect(metrics).not.toMatch(/^berth_sandbox_migrations_total\{.*result="Failed"\}/m);
    expect(metrics).toMatch(/^berth_restore_bytes_count 2$/m);
    expect(metrics).toContain(`berth_runner_started_sandboxes{runner="${origin ?? ''}"} 1`);
    expect(metrics).toMatch(/^berth_runner_started_sandboxes_spread 1$/m);
    await world.user.delete({ name: 'mover' });
    await cordon(target, false);
  });

  it.each([
    { when: 'its manifest was deleted in the registry', spoil: 'Delete', name: 'deleted' },
    { when: 'one byte of the manifest is another', spoil: 'Corrupt', name: 'corrupted' },
  ] as const)('starts in place when $when, and says which', async ({ spoil, name }) => {
    const { status } = await create(name);
    const { digest } = newest(await stopped(name));
    const file = blobFile(world.cluster, digest);
    const bytes = readFileSync(file, 'utf8');
    if (spoil === 'Corrupt')
      writeFileSync(
        file,
        bytes.replace(/("digest":\s*"sha256:)(.)/, (_, before: string, digit: string) => before + (digit === '0' ? '1' : '0')),
      );
    else await fetch(`${world.cluster.registry.url}/v2/backups/default.${name}/manifests/${digest}`, { method: 'DELETE' });
    await cordon(status.runnerName);
    const again = await started(name);
    expect(again.status).toMatchObject({ runnerName: status.runnerName, releases: [] });
    expect(await world.boots(name, 2)).toBe(2);
    const told = await world.user.told(again, 'BackupUnverified');
    expect(told.find(({ reason }) => reason === 'BackupUnverified')?.note).toContain(digest);
    await world.user.delete({ name });
    await cordon(status.runnerName, false);
  });

  it('one that is archived leaves nothing on its runner, and starts on any with its files', async () => {
    const { status } = await create('archived');
    await world.user.patch({ name: 'archived' }, { desiredState: 'Archived' });
    await world.user.untilState({ name: 'archived' }, 'Archived');
    await world.user.until({ name: 'archived' }, 'has no release left', ({ status: now }) => now.releases.length === 0);
    await nothingIsLeftOn(status.runnerName);
    await started('archived');
    expect(await world.boots('archived', 2)).toBe(2);
    await world.user.delete({ name: 'archived' });
  });

  it('one byte of a blob that is another is found before the last copy goes: it is not archived', async () => {
    const { status } = await create('not-archived');
    const record = newest(await stopped('not-archived'));
    const file = blobFile(world.cluster, await lastLayerOf(world.cluster.registry, record));
    const bytes = readFileSync(file);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 0xff;
    writeFileSync(file, bytes);
    await world.user.patch({ name: 'not-archived' }, { desiredState: 'Archived' });
    const sandbox = await world.user.sandbox({ name: 'not-archived' });
    const told = await world.user.told(sandbox, 'BackupUnverified');
    expect(told.some(({ note }) => note.includes(record.digest))).toBe(true);
    await world.user.patch({ name: 'not-archived' }, { desiredState: 'Started' });
    const again = await world.user.untilState({ name: 'not-archived' }, 'Started');
    expect(again.status.runnerName).toBe(status.runnerName);
    expect(await world.boots('not-archived', 2)).toBe(2);
    await world.user.delete({ name: 'not-archived' });
  });

  it('the registry keeps nothing of what was deleted', () => {
    expect(backupsIn(world.cluster)).toEqual([]);
  });
});
