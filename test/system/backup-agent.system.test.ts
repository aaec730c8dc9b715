import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { aBackup } from '../../agent/copies/an-order.ts';
import { agentFailpoints } from '../../agent/failpoints.ts';
import { BackupPhase, CopyState, Wanted } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { CrashablePart } from '../harness/crash.ts';
import { systemNamespace } from '../harness/identity.ts';
import { added, livingOn } from '../harness/leftovers.ts';
import { freePort } from '../harness/ports.ts';
import { eventually } from './eventually.ts';
import { LateHub } from './late-hub.ts';
import { inside } from './lying-on.ts';
import { inFilesOf, treeOf } from './mounted-copy.ts';
import { Ordering, toBackUp } from './ordering.ts';
import { startTimeoutMs, World } from './world.ts';

describe('an agent that is ordered to back up and to restore, with a real containerd and registry', () => {
  let world: World;
  let hub: LateHub;
  let here: Ordering;
  let there: Ordering;
  let hostsDirectory: string;
  let clean: ReadonlyMap<string, readonly string[]>;

  beforeAll(async () => {
    const port = await freePort();
    hostsDirectory = await mkdtemp(join(tmpdir(), 'berth-hosts-'));
    world = await World.start({
      operators: 0,
      runners: ['runner-1', 'runner-2'],
      failpoints: true,
      agentEnv: { BERTH_OPERATORS: `127.0.0.1:${port}`, BERTH_REGISTRY_CONFIG_DIR: hostsDirectory },
    });
    const name = `berth-operator.${systemNamespace}.svc`;
    hub = await LateHub.listen(`127.0.0.1:${port}`, await world.cluster.authority.issue('hub', 'berth-operator', [name]));
    here = await Ordering.of(hub, world.cluster.runner('runner-1'), world.image);
    there = await Ordering.of(hub, world.cluster.runner('runner-2'), world.image);
    clean = new Map(await Promise.all([here, there].map(async ({ runner }) => [runner.name, await livingOn(runner)] as const)));
  }, startTimeoutMs);
  afterAll(async () => {
    hub.close();
    await world.stop();
    await rm(hostsDirectory, { recursive: true, force: true });
  }, startTimeoutMs);

  const repository = (uid: string) => world.cluster.image(`backups/default.${uid.slice(0, 8)}`);
  const manifestOf = async (uid: string, digest: string) => {
    const [, path] = repository(uid).split(/\/(.*)/);
    const { statusCode, body } = await request(`${world.cluster.registry.url}/v2/${path}/manifests/${digest}`, {
      headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
    });
    expect(statusCode).toBe(200);
    return (await body.json()) as { readonly layers: readonly { readonly digest: string }[]; readonly config: { readonly digest: string } };
  };
  const blobOf = async (uid: string, digest: string) => {
    const [, path] = repository(uid).split(/\/(.*)/);
    return (await request(`${world.cluster.registry.url}/v2/${path}/blobs/${digest}`)).body.text();
  };
  const nothingIsLeftOn = async ({ runner }: Ordering) => {
    let left: readonly string[] = [];
    const look = async () => {
      left = added(clean.get(runner.name) ?? [], await livingOn(runner));
      return left.length === 0 ? true : undefined;
    };
    await eventually(`nothing is left on ${runner.name}`, look, () => left);
  };
  const removeFrom = async (ordering: Ordering, uid: string, order: number, epoch = 1) => {
    ordering.remove(uid, order, { epoch });
    await ordering.told(uid, CopyState.COPY_STATE_ABSENT, order);
  };
  const restored = async (uid: string, digest: string, order: number) => {
    there.send({
      ...prepareOrder(uid, order),
      source: aBackup(digest, repository(uid)),
    });
    return there.told(uid, CopyState.COPY_STATE_PREPARED, order);
  };
  const prepareOrder = (uid: string, order: number) => ({
    ...{ uid, namespace: 'default', name: 'by-hand', epoch: 2, order },
    ...{ storeId: there.hello.storeId, bootId: there.hello.bootId },
    ...{ wanted: Wanted.WANTED_PREPARED, contentVersion: 0, config: there.config('true'), graceSeconds: 0 },
    ...{ credentials: [], secretEnv: [], backup: undefined },
  });
  const started = async (uid: string, script: string) => {
    here.start(uid, 1, 1, { config: here.config(`${script}\ntouch /ready`) });
    await here.told(uid, CopyState.COPY_STATE_RUNNING, 1);
    await eventually('its files are written', async () =>
      (await inside(here.runner, uid, 'ls', '/')).includes('ready') ? true : undefined,
    );
  };

  it('keeps content, deletions, modes, owners, links, device nodes and capabilities on the way to another runner', async () => {
    const uid = randomUUID();
    const secret = `secret-${uid}`;
    const script = [
      'mkdir -p /data/deep && echo hello > /data/deep/file && chmod 4755 /data/deep/file && chown 1000:65534 /data/deep',
      'ln /data/deep/file /data/hard && ln -s ../nowhere /data/soft && mkfifo -m 620 /data/fifo',
      'rm /etc/passwd && rm -r /home && mkdir /home && chmod 1777 /var && dd if=/dev/urandom of=/data/random bs=64k count=32 2>/dev/null',
    ];
    here.start(uid, 1, 1, {
      config: here.config(`${script.join(' && ')} && touch /ready`),
      secretEnv: [{ name: 'SECRET', value: secret }],
    });
    await here.told(uid, CopyState.COPY_STATE_RUNNING, 1);
    await eventually('its files are written', async () =>
      (await inside(here.runner, uid, 'ls', '/')).includes('ready') ? true : undefined,
    );
    here.stop(uid, 2);
    const { baseDigest: base } = await here.told(uid, CopyState.COPY_STATE_STOPPED, 2);
    await inFilesOf(
      here.runner,
      uid,
      'mknod data/device c 1 3 && chmod 640 data/device && cp bin/busybox data/able && setcap cap_net_raw+ep data/able',
    );
    here.stop(uid, 3, { backup: toBackUp(1, 1, repository(uid)) });
    const { digest, takenWhileStopped, sizeBytes } = await here.done(uid, 1);
    expect(takenWhileStopped).toBe(true);
    expect(sizeBytes).toBeGreaterThan(2 ** 21);
    const before = await treeOf(here.runner, uid);
    expect(before.join('\n')).toMatch(/data\/able.*cap_net_raw/);
    const { config, layers } = await manifestOf(uid, digest);
    expect(JSON.stringify([layers, await blobOf(uid, config.digest)])).not.toContain(secret);

    const asked = world.cluster.registry.accessLog().length;
    const { baseDigest } = await restored(uid, digest, 4);
    expect(baseDigest).toBe(base);
    expect(await treeOf(there.runner, uid)).toEqual(before);
    const pulled = world.cluster.registry.accessLog().slice(asked).join('\n');
    expect(pulled).toContain(`/manifests/${digest}`);
    expect(pulled).toContain(`GET /v2/backups/default.${uid.slice(0, 8)}/blobs/${layers.at(-1)?.digest ?? ''}`);

    // A backup of the restored copy is one layer above the same base, and another one.
    there.stop(uid, 5, { epoch: 2 });
    await there.told(uid, CopyState.COPY_STATE_STOPPED, 5);
    await removeFrom(here, uid, 6);
    there.start(uid, 7, 2, { epoch: 2, source: aBackup(digest, repository(uid)), config: there.config('rm /data/random') });
    await there.told(uid, CopyState.COPY_STATE_RUNNING, 7);
    there.stop(uid, 8, { epoch: 2, backup: toBackUp(2, 2, repository(uid)) });
    const second = await there.done(uid, 2);
    expect(second.digest).not.toBe(digest);
    const cumulative = await manifestOf(uid, second.digest);
    expect(cumulative.layers).toHaveLength(layers.length);
    expect(cumulative.layers.slice(0, -1)).toEqual(layers.slice(0, -1));
    there.stop(uid, 9, { epoch: 2, backup: toBackUp(3, 2, repository(uid)) });
    expect((await there.done(uid, 3)).digest).not.toBe(second.digest);
    await removeFrom(there, uid, 10, 2);
    await nothingIsLeftOn(here);
    await nothingIsLeftOn(there);
  });

  it('backs up a sandbox whose files grow while it runs, and that goes on', async () => {
    const uid = randomUUID();
    await started(uid, 'echo kept > /kept; (while :; do head -c 65536 /dev/urandom >> /grows; done) &');
    here.start(uid, 2, 1, { backup: toBackUp(1, 1, repository(uid)), config: here.config('true') });
    const { digest, takenWhileStopped } = await here.done(uid, 1);
    expect(takenWhileStopped).toBe(false);
    expect(here.last(uid)?.state).toBe(CopyState.COPY_STATE_RUNNING);
    const size = async () => Number(await inside(here.runner, uid, 'stat', '-c', '%s', '/grows'));
    const then = await size();
    await eventually('it writes on', async () => ((await size()) > then ? true : undefined));
    await restored(uid, digest, 3);
    expect((await inFilesOf(there.runner, uid, 'cat kept')).trim()).toBe('kept');
    await removeFrom(there, uid, 4, 2);
    await removeFrom(here, uid, 5);
    await nothingIsLeftOn(here);
  });

  it('gives a backup up when a start does not name it, and starts only then', async () => {
    const uid = randomUUID();
    await started(uid, 'head -c 134217728 /dev/urandom > /large');
    here.stop(uid, 2, { backup: toBackUp(1, 1, repository(uid)) });
    await here.backedUp(uid, 1, BackupPhase.BACKUP_PHASE_DIFFING);
    here.start(uid, 3, 2);
    expect((await here.told(uid, CopyState.COPY_STATE_RUNNING, 3)).backup).toBeUndefined();
    expect(hub.reports.some((report) => report.uid === uid && report.backup?.phase === BackupPhase.BACKUP_PHASE_DONE)).toBe(false);
    await removeFrom(here, uid, 4);
    await nothingIsLeftOn(here);
  });

  it('keeps what it has read while the registry is away, and the sandbox may start meanwhile', async () => {
    const uid = randomUUID();
    await started(uid, 'echo one > /what');
    here.stop(uid, 2);
    await here.told(uid, CopyState.COPY_STATE_STOPPED, 2);
    await world.cluster.registry.stop();
    here.stop(uid, 3, { backup: toBackUp(1, 1, repository(uid)) });
    await here.backedUp(uid, 1, BackupPhase.BACKUP_PHASE_WAITING, 'RegistryUnavailable');
    here.start(uid, 4, 2, { backup: toBackUp(1, 1, repository(uid)), config: here.config('echo two > /what') });
    await here.told(uid, CopyState.COPY_STATE_RUNNING, 4);
    await eventually('it has written', async () => ((await inside(here.runner, uid, 'cat', '/what')).includes('two') ? true : undefined));
    await world.cluster.registry.start();
    const { digest, takenWhileStopped } = await here.done(uid, 1);
    expect(takenWhileStopped).toBe(true);
    await restored(uid, digest, 5);
    expect((await inFilesOf(there.runner, uid, 'cat what')).trim()).toBe('one');
    await removeFrom(there, uid, 6, 2);
    await removeFrom(here, uid, 7);
    await nothingIsLeftOn(here);
  });

  it('refuses what it can not do, with a reason', async () => {
    const uid = randomUUID();
    await started(uid, 'echo some > /some');
    here.stop(uid, 2, { backup: toBackUp(1, 7, repository(uid)) });
    await here.backedUp(uid, 1, BackupPhase.BACKUP_PHASE_FAILED, 'BackupVersionMismatch');
    here.stop(uid, 3, { backup: toBackUp(2, 1, repository(uid)) });
    const { digest } = await here.done(uid, 2);

    there.send({ ...prepareOrder(uid, 4), source: aBackup(`sha256:${'1'.repeat(64)}`, repository(uid)) });
    expect(await there.told(uid, CopyState.COPY_STATE_REJECTED, 4)).toMatchObject({ reason: 'BackupNotFound' });
    const image = (await manifestOf(uid, digest)).layers.at(-1)?.digest ?? '';
    await corrupt(image);
    there.send({ ...prepareOrder(uid, 5), source: aBackup(digest, repository(uid)) });
    expect(await there.told(uid, CopyState.COPY_STATE_REJECTED, 5)).toMatchObject({ reason: 'BackupCorrupt' });
    await removeFrom(there, uid, 6, 2);
    await removeFrom(here, uid, 7);
  });
  /** Changes one byte of a blob in the registry's storage. */
  const corrupt = async (digest: string) => {
    const hex = digest.slice('sha256:'.length);
    const file = join(world.cluster.dataDir, 'registry/storage/docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data');
    await here.runner.exec('sh', '-c', `printf X | dd of=${file} bs=1 seek=30 conv=notrunc 2>/dev/null`);
  };

  it('uses a registry with a certificate of its own and a password', async () => {
    const password = { username: 'berth', password: 'let-me-in' };
    const registry = await world.cluster.addRegistry('secure', { tls: world.cluster.authority, credentials: password });
    await mkdir(join(hostsDirectory, registry.address));
    await writeFile(
      join(hostsDirectory, registry.address, 'hosts.toml'),
      `server = "https://${registry.address}"\n[host."https://${registry.address}"]\n  ca = "${world.cluster.authority.caFile}"\n`,
    );
    const uid = randomUUID();
    const place = `${registry.address}/backups/secure`;
    const credentials = [{ host: registry.address, ...password }];
    await started(uid, 'echo safe > /safe');
    here.stop(uid, 2, { backup: toBackUp(1, 1, place), credentials: [{ host: registry.address, username: 'berth', password: 'wrong' }] });
    await here.backedUp(uid, 1, BackupPhase.BACKUP_PHASE_FAILED, 'ImageUnauthorized');
    here.stop(uid, 3, { backup: toBackUp(2, 1, place), credentials });
    const { digest } = await here.done(uid, 2);
    there.send({ ...prepareOrder(uid, 4), source: aBackup(digest, place), credentials });
    await there.told(uid, CopyState.COPY_STATE_PREPARED, 4);
    expect((await inFilesOf(there.runner, uid, 'cat safe')).trim()).toBe('safe');
    await removeFrom(there, uid, 5, 2);
    await removeFrom(here, uid, 6);
    await registry.stop();
  });

  describe('and is killed in the middle of it', () => {
    let crashable: CrashablePart;
    beforeAll(async () => {
      crashable = new CrashablePart(here.runner.agent, world.cluster.stateDir);
      await here.runner.agent.restart();
      await here.another();
    }, startTimeoutMs);

    it.each(agentFailpoints.filter((name) => name.startsWith('backup.')))(
      'at %s: the next one lets the sandbox go on, removes what is left, and begins anew when the order comes again',
      async (failpoint) => {
        const uid = randomUUID();
        await started(uid, '(while :; do date >> /ticks; sleep 0.1; done) &');
        crashable.arm(failpoint);
        here.start(uid, 2, 1, { backup: toBackUp(1, 1, repository(uid)) });
        await crashable.died();
        await here.runner.agent.start();
        await here.another();
        const ticks = async () => (await inside(here.runner, uid, 'cat', '/ticks').catch(() => '')).length;
        await eventually('it runs', async () => ((await ticks()) > 0 ? true : undefined));
        const then = await ticks();
        await eventually('it goes on', async () => ((await ticks()) > then ? true : undefined));
        await noTraceOfBackups();
        here.start(uid, 2, 1, { backup: toBackUp(1, 1, repository(uid)) });
        const { digest } = await here.done(uid, 1);
        await manifestOf(uid, digest);
        await removeFrom(here, uid, 3);
        await nothingIsLeftOn(here);
      },
    );

    it('at backup.begun, of a copy that was restored: the view of its base goes, too', async () => {
      const uid = randomUUID();
      await started(uid, 'echo first > /data');
      here.stop(uid, 2, { backup: toBackUp(1, 1, repository(uid)) });
      const { digest } = await here.done(uid, 1);
      await removeFrom(here, uid, 3);
      here.start(uid, 4, 2, { epoch: 2, source: aBackup(digest, repository(uid)) });
      await here.told(uid, CopyState.COPY_STATE_RUNNING, 4);
      crashable.arm('backup.begun');
      here.start(uid, 5, 2, { epoch: 2, backup: toBackUp(2, 2, repository(uid)) });
      await crashable.died();
      expect(await here.runner.ctr('berth', 'snapshots', 'ls')).toContain('backup-');
      await here.runner.agent.start();
      await here.another();
      await noTraceOfBackups();
      await removeFrom(here, uid, 6, 2);
      await nothingIsLeftOn(here);
    });

    const noTraceOfBackups = () =>
      eventually('nothing of the backup is left', async () => {
        const listed = await Promise.all([
          here.runner.ctr('berth', 'leases', 'ls', '-q'),
          here.runner.ctr('berth', 'snapshots', 'ls'),
          here.runner.ctr('berth', 'images', 'ls', '-q'),
          here.runner.ctr('berth', 'content', 'active'),
        ]);
        return listed.some((text) => text.includes('backup-')) ? undefined : true;
      });
  });
});

describe('an agent whose disk is full', () => {
  let world: World;
  let hub: LateHub;
  let agent: Ordering;

  beforeAll(async () => {
    const address = `127.0.0.1:${await freePort()}`;
    world = await World.start({ operators: 0, diskBytes: 256 * 2 ** 20, agentEnv: { BERTH_OPERATORS: address } });
    const name = `berth-operator.${systemNamespace}.svc`;
    hub = await LateHub.listen(address, await world.cluster.authority.issue('hub', 'berth-operator', [name]));
    agent = await Ordering.of(hub, world.cluster.runner('runner-1'), world.image);
  }, startTimeoutMs);
  afterAll(async () => {
    hub.close();
    await world.stop();
  }, startTimeoutMs);

  it('says so of a backup and of a restore, leaves the files as they were, and goes on when there is room', async () => {
    const [uid, repository] = [randomUUID(), world.cluster.image('backups/full')];
    agent.start(uid, 1, 1, { config: agent.config('head -c 41943040 /dev/urandom > /large; touch /ready') });
    await agent.told(uid, CopyState.COPY_STATE_RUNNING, 1);
    await eventually('its files are written', async () =>
      (await inside(agent.runner, uid, 'ls', '/')).includes('ready') ? true : undefined,
    );
    agent.stop(uid, 2, { backup: toBackUp(1, 1, repository) });
    const { digest } = await agent.done(uid, 1);
    const before = await treeOf(agent.runner, uid);
    const filler = join(agent.runner.containerdRoot, 'filler');
    // All but 10 MiB.
    await agent.runner.exec('sh', '-c', `dd if=/dev/zero of=${filler} bs=1M 2>/dev/null || truncate -s -10M ${filler}`);

    agent.stop(uid, 3, { backup: toBackUp(2, 1, repository) });
    await agent.backedUp(uid, 2, BackupPhase.BACKUP_PHASE_FAILED, 'OutOfDisk');
    expect(await treeOf(agent.runner, uid)).toEqual(before);
    agent.start(uid, 4, 2, { epoch: 2, source: aBackup(digest, repository) });
    expect(await agent.told(uid, CopyState.COPY_STATE_REJECTED, 4)).toMatchObject({ reason: 'OutOfDisk' });
    expect(await treeOf(agent.runner, uid)).toEqual(before);

    await agent.runner.exec('rm', filler);
    agent.stop(uid, 5, { backup: toBackUp(3, 1, repository) });
    expect(await agent.done(uid, 3)).toMatchObject({ takenWhileStopped: true });
    agent.start(uid, 6, 2);
    await agent.told(uid, CopyState.COPY_STATE_RUNNING, 6);
    agent.remove(uid, 7);
    await agent.told(uid, CopyState.COPY_STATE_ABSENT, 7);
  });
});
