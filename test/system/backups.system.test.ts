import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { BackupRecord, Sandbox } from '../../crds/index.ts';
import { after, aSandbox } from './a-sandbox.ts';
import { manifestIn } from './registry-of.ts';
import { startTimeoutMs, World } from './world.ts';

const history = ({ status }: Sandbox) => status.backup?.history ?? [];
const newest = (sandbox: Sandbox): BackupRecord => {
  const record = history(sandbox).at(-1);
  if (record === undefined) throw new Error(`${sandbox.metadata.name} has no backup`);
  return record;
};
const conditionOf = ({ status }: Sandbox, type: string) => status.conditions.find((one) => one.type === type);
const isBackedUp = (sandbox: Sandbox) => conditionOf(sandbox, 'BackedUp')?.reason === 'BackupCurrent';

describe('backups, from the stop of a sandbox to the registry and back', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start({ backups: true, operatorEnv: { BERTH_PATIENCE_SECONDS: '2' } });
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const wrote = (name: string, script: string, spec: object = {}) =>
    aSandbox(name, { image: world.image, command: after(script), ...spec });
  const stop = (name: string) => world.user.patch({ name }, { desiredState: 'Stopped' });
  const start = (name: string) => world.user.patch({ name }, { desiredState: 'Started' });
  const backedUp = (name: string) => world.user.until({ name }, 'has a current backup', isBackedUp);
  const repositoryOf = (name: string) => world.cluster.image(`backups/default.${name}`);

  it('a stop makes one that the registry serves under its digest, and everybody can see it', async () => {
    await world.user.create(wrote('seen', 'echo hello > /file'));
    await world.user.untilState({ name: 'seen' }, 'Started');
    expect(history(await world.user.sandbox({ name: 'seen' }))).toEqual([]);
    await stop('seen');
    const sandbox = await backedUp('seen');
    const record = newest(sandbox);
    expect(record).toMatchObject({
      repository: repositoryOf('seen'),
      takenWhile: 'Stopped',
      contentVersion: sandbox.status.contentVersion,
    });
    expect(sandbox.status.backup?.latest?.digest).toBe(record.digest);
    expect(record.verifiedTime).toBeDefined();
    expect(record.sizeBytes).toBeGreaterThan(0);
    expect((await manifestIn(world.cluster.registry, record)).statusCode).toBe(200);
    await world.user.told(sandbox, 'BackupRunning', 'BackupCompleted');
    // It starts in place, and what it holds then is in no backup.
    await start('seen');
    const again = await world.user.untilState({ name: 'seen' }, 'Started');
    expect(conditionOf(again, 'BackedUp')?.reason).toBe('BackupOutdated');
  });

  it('keeps as many as asked for, and removes the oldest by its digest; no two share one', async () => {
    await world.user.create(wrote('kept', 'echo hello > /file', { backup: { policy: 'OnStop', retain: 2 } }));
    await world.user.untilState({ name: 'kept' }, 'Started');
    await stop('kept');
    const records = [newest(await backedUp('kept'))];
    for (const requestID of ['one', 'two', 'three']) {
      await world.user.patch({ name: 'kept' }, { backup: { requestID } });
      const done = await world.user.until({ name: 'kept' }, `answers ${requestID}`, ({ status }) => status.backup?.requestID === requestID);
      records.push(newest(done));
    }
    expect(new Set(records.map(({ digest }) => digest)).size).toBe(4);
    const left = await world.user.until({ name: 'kept' }, 'has two', (sandbox) => history(sandbox).length === 2);
    expect(history(left).map(({ digest }) => digest)).toEqual(records.slice(2).map(({ digest }) => digest));
    const served = await Promise.all(records.map(async (record) => (await manifestIn(world.cluster.registry, record)).statusCode));
    expect(served).toEqual([404, 404, 200, 200]);
  });

  it('while the registry is down: it is said, nothing is recorded, the last good one stays, a start in place works', async () => {
    await world.user.create(wrote('waits', 'echo hello > /file'));
    await world.user.untilState({ name: 'waits' }, 'Started');
    await stop('waits');
    const first = newest(await backedUp('waits'));
    await start('waits');
    await world.user.untilState({ name: 'waits' }, 'Started');
    await world.cluster.registry.stop();
    await stop('waits');
    const failing = await world.user.until(
      { name: 'waits' },
      'says that the registry is down',
      ({ status }) => status.backup?.operation?.reason !== undefined,
    );
    expect(failing.status.backup?.operation).toMatchObject({ reason: 'RegistryUnavailable' });
    expect(history(failing).map(({ digest }) => digest)).toEqual([first.digest]);
    await start('waits');
    await world.user.untilState({ name: 'waits' }, 'Started');
    await stop('waits');
    await world.user.untilState({ name: 'waits' }, 'Stopped');
    await world.cluster.registry.start();
    const sandbox = await backedUp('waits');
    expect(history(sandbox).map(({ digest }) => digest)).toContain(first.digest);
    expect(history(sandbox)).toHaveLength(2);
    expect((await manifestIn(world.cluster.registry, newest(sandbox))).statusCode).toBe(200);
  });

  it('what comes in between is defined: a start, a stop and a deletion during a backup', async () => {
    const big = 'dd if=/dev/urandom of=/big bs=1M count=64 2>/dev/null; touch /done';
    await world.user.create(wrote('between', big));
    await world.user.untilState({ name: 'between' }, 'Started');
    await stop('between');
    await world.user.until({ name: 'between' }, 'is being backed up', ({ status }) => status.backup?.operation?.state === 'Running');
    await start('between');
    await world.user.untilState({ name: 'between' }, 'Started');
    await stop('between');
    const sandbox = await backedUp('between');
    for (const record of history(sandbox)) {
      expect(record.takenWhile).toBe('Stopped');
      expect((await manifestIn(world.cluster.registry, record)).statusCode).toBe(200);
    }
    await world.user.patch({ name: 'between' }, { backup: { requestID: 'again' } });
    await world.user.until({ name: 'between' }, 'is being backed up', ({ status }) => status.backup?.operation?.state === 'Running');
    await world.user.delete({ name: 'between' });
  });

  it('metrics tell of them', async () => {
    const text = await (await fetch(`${world.cluster.operators[0]?.healthUrl ?? ''}/metrics`)).text();
    expect(text).toMatch(/^berth_backups_total\{kind="OnStop",result="Completed",reason=""\} [1-9]/m);
    expect(text).toMatch(/^berth_backup_bytes_count\{kind="OnStop"\} [1-9]/m);
    expect(text).toMatch(/^berth_registry_work_total\{kind="VerifyMeta",outcome="Whole"\} [1-9]/m);
    expect(text).toMatch(/^berth_registry_work_total\{kind="Delete",outcome="Deleted"\} [1-9]/m);
    expect(text).toMatch(/^berth_sandbox_state_seconds_count\{state="Started"\} [1-9]/m);
    expect(text).toMatch(/^berth_runner_started_sandboxes\{runner="runner-1"\} [0-9]/m);
    expect(text).toMatch(/^berth_runner_started_sandboxes_spread 0$/m);
  });
});
