import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type ContainerdRuntime, type ContainerdRuntimeOptions, createContainerdRuntime } from '../../agent/containerd/runtime.client.ts';
import { Container, ContainersService } from '../../agent/containerd/gen/services/containers/v1/containers.ts';
import { DeleteImageRequest, type Image, ImagesService } from '../../agent/containerd/gen/services/images/v1/images.ts';
import { TasksService } from '../../agent/containerd/gen/services/tasks/v1/tasks.ts';
import { StoreService } from '../../agent/containerd/gen/services/sandbox/v1/sandbox.ts';
import type {
  Attempt,
  AttemptSource,
  ContainerConfig,
  CopyKey,
  PrepareProgress,
  RuntimeCopy,
  RuntimeEvent,
} from '../../agent/copies/runtime.ts';
import { LABELS } from '../../crds/names.ts';
import { run } from '../../hack/command.ts';
import { silentLogger } from '../../process/log.ts';
import { systemClock } from '../../process/system-clock.ts';
import { cgroupProcesses } from '../harness/cgroups.ts';
import { commandLine } from '../harness/processes.ts';
import { probeImage } from '../harness/probe-image.ts';
import { Cluster } from '../harness/cluster.ts';
import { demoImage, pushImage, withLayer } from '../harness/images.ts';
import type { Registry } from '../harness/registry.ts';
import type { Runner } from '../harness/runner.ts';
import type { TarEntry } from '../harness/tar.ts';
import { eventually } from './eventually.ts';

/** The first start on a machine compiles containerd. */
const startTimeoutMs = 1_800_000;
const testTimeoutMs = 120_000;
const never = new AbortController().signal;
const mebibyte = 2 ** 20;

let cluster: Cluster;
let locked: Registry;
let runner: Runner;
let runtime: ContainerdRuntime;
let image: string;

const open = (options: Partial<ContainerdRuntimeOptions> = {}): Promise<ContainerdRuntime> =>
  createContainerdRuntime({
    address: runner.socket,
    installID: 'install',
    storeID: 'store',
    bootID: 'boot',
    stateDir: runner.agentStateDir,
    runtimeRoot: runner.runtimeRoot,
    cgroups: { parent: runner.cgroupParent },
    clock: systemClock(),
    logger: silentLogger,
    ...options,
  });

beforeAll(async () => {
  cluster = await Cluster.start({ operators: 0, agents: false });
  runner = cluster.runner('runner-1');
  locked = await cluster.addRegistry('locked', { credentials: { username: 'user', password: 'right' } });
  const text: TarEntry = { path: 'etc/text', type: 'file', mode: 0o644, content: 'no program' };
  image = await cluster.pushImage('demo:1', withLayer(await probeImage(), [text]));
  await pushImage(locked, 'private:1', await demoImage());
  runtime = await open();
}, startTimeoutMs);
afterAll(async () => {
  await runtime.close();
  await cluster.stop();
}, testTimeoutMs);

interface Wanted {
  readonly key?: CopyKey;
  readonly namespace?: string;
  readonly source?: AttemptSource;
  readonly credentials?: Attempt['credentials'];
  readonly secretEnv?: Attempt['secretEnv'];
  readonly config?: Partial<ContainerConfig>;
}

const idOf = ({ uid, epoch }: CopyKey) => `${uid}-${epoch}`;
const freshKey = (): CopyKey => ({ uid: randomUUID(), epoch: 1 });

function attempt({
  key = freshKey(),
  namespace = 'team',
  source = { kind: 'Image', digest: '' },
  credentials = [],
  secretEnv = [],
  config = {},
}: Wanted = {}): Attempt {
  const amounts = { cpuMillis: 500, memoryBytes: 64 * mebibyte, diskBytes: 0 };
  return {
    key,
    namespace,
    name: 'box',
    source,
    credentials,
    secretEnv,
    config: {
      hash: 'hash',
      image,
      imagePullPolicy: 'IfNotPresent',
      command: [],
      args: [],
      env: [],
      workingDir: '',
      requests: amounts,
      limits: amounts,
      pidsLimit: 64,
      ...config,
    },
  };
}

const script = (text: string): Partial<ContainerConfig> => ({ command: ['sh', '-c', text] });
const prepare = (wanted: Attempt, on = runtime) => on.prepare(wanted, () => undefined, never);

async function start(wanted: Attempt, on = runtime): Promise<CopyKey> {
  await prepare(wanted, on);
  await on.start(wanted.key);
  return wanted.key;
}

const logOf = (key: CopyKey) => readFileSync(join(runner.agentStateDir, 'logs', `${key.uid}-${key.epoch}.log`), 'utf8');
const logged = (key: CopyKey, text: string) =>
  eventually(
    `"${text}" in the log`,
    () => Promise.resolve(logOf(key).includes(text) ? logOf(key) : undefined),
    () => logOf(key),
  );

async function found(key: CopyKey, on = runtime): Promise<RuntimeCopy | undefined> {
  return (await on.list()).find((copy) => copy.key.uid === key.uid && copy.key.epoch === key.epoch);
}

async function exitOf(key: CopyKey, on = runtime) {
  return eventually('the exit', async () => {
    const task = (await found(key, on))?.task;
    return task?.state === 'Stopped' ? task.exit : undefined;
  });
}

/** Runs a script to its end; what it printed. Both outputs as one: the shim copies each by itself, so that their lines have no sequence. */
async function output(text: string, wanted: Wanted = {}, on = runtime): Promise<string> {
  const key = await start(attempt({ ...wanted, config: { ...script(`exec 2>&1; ${text}`), ...wanted.config } }), on);
  await exitOf(key, on);
  // What it printed is in the file for certain when its task is deleted.
  await on.stop(key, 0, never);
  const printed = logOf(key);
  await on.remove(key);
  return printed;
}

describe('a copy', () => {
  it(
    'is prepared, started, stopped politely, and removed without a trace',
    async () => {
      const steps: PrepareProgress[] = [];
      const wanted = attempt({ config: script('trap "echo bye; exit 7" TERM; echo ready; while :; do sleep 0.1; done') });
      const { baseDigest } = await runtime.prepare(wanted, (step) => steps.push(step), never);
      expect(baseDigest).toMatch(/^sha256:[0-9a-f]{64}$/);
      expect(steps.filter(({ phase }) => phase === 'CreatingTask')).toHaveLength(1);
      expect(await found(wanted.key)).toEqual({
        key: wanted.key,
        namespace: 'team',
        name: 'box',
        note: { order: 0, contentVersion: 0 },
        configHash: 'hash',
        baseDigest,
        requests: wanted.config.requests,
        hasContent: true,
        bootID: 'boot',
        task: { state: 'Created' },
      });

      const { startTimeMs } = await runtime.start(wanted.key);
      await runtime.annotate(wanted.key, { order: 5, contentVersion: 2 });
      expect(await found(wanted.key)).toMatchObject({
        note: { order: 5, contentVersion: 2 },
        task: { state: 'Running', startTimeMs },
      });
      await logged(wanted.key, 'ready');

      await expect(runtime.stop(wanted.key, 60, never)).resolves.toMatchObject({ code: 7, signal: 0, oomKilled: false, lost: false });
      expect(logOf(wanted.key)).toContain('bye');
      expect(await found(wanted.key)).toMatchObject({ hasContent: true, task: { state: 'None' } });

      await runtime.remove(wanted.key);
      expect(await found(wanted.key)).toBeUndefined();
      expect(readdirSync(join(runner.agentStateDir, 'logs'))).toEqual([]);
      await runtime.remove(wanted.key);
    },
    testTimeoutMs,
  );

  it(
    'that ignores SIGTERM is killed after the grace',
    async () => {
      const key = await start(attempt({ config: script('trap "" TERM; echo ready; while :; do sleep 0.1; done') }));
      await logged(key, 'ready');
      await expect(runtime.stop(key, 1, never)).resolves.toMatchObject({ code: 137, signal: 9, oomKilled: false });
      await runtime.remove(key);
    },
    testTimeoutMs,
  );

  it(
    'that was prepared and not started has no exit when it is stopped',
    async () => {
      const wanted = attempt();
      await prepare(wanted);
      await expect(runtime.stop(wanted.key, 60, never)).resolves.toBeUndefined();
      await runtime.remove(wanted.key);
    },
    testTimeoutMs,
  );

  it(
    'is prepared twice and started twice like once',
    async () => {
      const wanted = attempt({ config: script('echo started; sleep 1000') });
      await prepare(wanted);
      const steps: PrepareProgress[] = [];
      await runtime.prepare(wanted, (step) => steps.push(step), never);
      expect(steps.filter(({ phase }) => phase === 'CreatingTask')).toHaveLength(1);
      await runtime.start(wanted.key);
      await runtime.start(wanted.key);
      await logged(wanted.key, 'started');
      await expect(prepare(wanted)).rejects.toMatchObject({ code: 'CopyRunning' });
      expect(logOf(wanted.key)).toBe('started\n');
      await runtime.remove(wanted.key);
    },
    testTimeoutMs,
  );

  it(
    'keeps its files when it is started in place, also with another configuration',
    async () => {
      const key = await start(attempt({ config: script('echo one >/root/file; rm /etc/text') }));
      await exitOf(key);
      const again = attempt({
        key,
        source: { kind: 'Local' },
        config: {
          ...script('exec 2>&1; cat /root/file; ls /etc/text; echo $COLOR; sleep 1000'),
          hash: 'other',
          env: [{ name: 'COLOR', value: 'red' }],
        },
      });
      await expect(prepare(again)).resolves.toMatchObject({ baseDigest: expect.stringMatching(/^sha256:/) });
      await runtime.start(key);
      expect(await logged(key, 'red')).toMatch(/^one\nls: \/etc\/text: No such file or directory\nred\n$/);
      expect(await found(key)).toMatchObject({ configHash: 'other' });
      await runtime.remove(key);
    },
    testTimeoutMs,
  );

  it(
    'is started in place without its image and without its container record',
    async () => {
      const key = await start(attempt({ config: script('echo one >/root/file') }));
      // Stopped sooner, it might not have come so far as to write it.
      await exitOf(key);
      await runtime.stop(key, 0, never);
      await runner.ctr('berth', 'containers', 'rm', '--keep-snapshot', `${key.uid}-${key.epoch}`);
      expect(await found(key)).toMatchObject({ key, namespace: 'team', name: 'box', hasContent: true, configHash: '' });
      await start(attempt({ key, source: { kind: 'Local' }, config: script('cat /root/file; sleep 1000') }));
      await logged(key, 'one');
      await runtime.remove(key);
    },
    testTimeoutMs,
  );

  it(
    'whose files are gone is never made from the image',
    async () => {
      const local = attempt({ source: { kind: 'Local' } });
      await expect(prepare(local)).rejects.toMatchObject({ code: 'ContentMissing' });
      const key = await start(attempt({ config: script('true') }));
      await runtime.stop(key, 0, never);
      await runner.ctr('berth', 'snapshots', 'rm', `${key.uid}-${key.epoch}`);
      expect(await found(key)).toMatchObject({ hasContent: false });
      await expect(prepare(attempt({ key, source: { kind: 'Local' } }))).rejects.toMatchObject({ code: 'ContentMissing' });
      await runtime.remove(key);
    },
    testTimeoutMs,
  );

  it(
    'is as many as there are epochs',
    async () => {
      const first = freshKey();
      const second = { ...first, epoch: 2 };
      await Promise.all([first, second].map((key) => start(attempt({ key, config: script(`echo ${key.epoch} >/root/file; sleep 1000`) }))));
      await runtime.remove(first);
      expect(await found(first)).toBeUndefined();
      expect(await found(second)).toMatchObject({ task: { state: 'Running' } });
      await runtime.remove(second);
    },
    testTimeoutMs,
  );
});

describe('an exit', () => {
  /** The first process of a pid namespace is killed from outside only. */
  const killed = 'echo ready; exec sleep 1000';
  it.each([
    { how: 'an exit code', text: 'exit 3', want: { code: 3, signal: 0, oomKilled: false } },
    { how: 'a signal', text: killed, want: { code: 137, signal: 9, oomKilled: false } },
    { how: 'too much memory', text: 'exec tail /dev/zero', want: { code: 137, signal: 9, oomKilled: true } },
  ])(
    'by $how is told as such, by event and by list',
    async ({ text, want }) => {
      const events: RuntimeEvent[] = [];
      const ends = new AbortController();
      runtime.subscribe((event) => events.push(event), ends.signal);
      await eventually('the subscription', () => Promise.resolve(events.find(({ kind }) => kind === 'Resubscribed')));
      const key = await start(attempt({ config: script(text) }));
      if (text === killed) await runner.ctr('berth', 'tasks', 'kill', '-s', 'SIGKILL', `${key.uid}-${key.epoch}`);
      await expect(exitOf(key)).resolves.toMatchObject({ ...want, lost: false });
      const event = await eventually('the event', () => Promise.resolve(events.find(({ kind }) => kind === 'Exited')));
      expect(event).toMatchObject({ kind: 'Exited', key, exit: want });
      await runtime.remove(key);
      ends.abort();
    },
    testTimeoutMs,
  );

  it(
    'that Berth itself forced is no want of memory, even when a child was killed for it before',
    async () => {
      const key = await start(attempt({ config: script('(tail /dev/zero); echo child over; while :; do sleep 1; done') }));
      await logged(key, 'child over');
      await expect(runtime.stop(key, 1, never)).resolves.toMatchObject({ code: 137, signal: 9, oomKilled: false });
      await runtime.remove(key);
    },
    testTimeoutMs,
  );

  it(
    'of a task that was only prepared is no news',
    async () => {
      const events: RuntimeEvent[] = [];
      const ends = new AbortController();
      runtime.subscribe((event) => events.push(event), ends.signal);
      await eventually('the subscription', () => Promise.resolve(events.find(({ kind }) => kind === 'Resubscribed')));
      const prepared = attempt();
      await prepare(prepared);
      await runtime.remove(prepared.key);
      const key = await start(attempt({ config: script('true') }));
      await eventually('the event', () => Promise.resolve(events.find((event) => event.kind === 'Exited')));
      expect(events.flatMap((event) => (event.kind === 'Exited' ? [event.key] : []))).toEqual([key]);
      await runtime.remove(key);
      ends.abort();
    },
    testTimeoutMs,
  );
});

describe('something removed behind our back', () => {
  it(
    'is told',
    async () => {
      const events: RuntimeEvent[] = [];
      const ends = new AbortController();
      runtime.subscribe((event) => events.push(event), ends.signal);
      await eventually('the subscription', () => Promise.resolve(events.find(({ kind }) => kind === 'Resubscribed')));
      const key = await start(attempt({ config: script('true') }));
      await runtime.stop(key, 0, never);
      await runner.ctr('berth', 'containers', 'rm', `${key.uid}-${key.epoch}`);
      await eventually('the event', () => Promise.resolve(events.find((event) => event.kind === 'Removed')));
      expect(events).toContainEqual({ kind: 'Removed', key });
      await runtime.remove(key);
      ends.abort();
    },
    testTimeoutMs,
  );
});

describe('an image', () => {
  const privateImage = () => `${locked.address}/private:1`;
  const credentials = (password: string) => [{ host: locked.address, username: 'user', password }];

  it(
    'that does not exist is ImageNotFound',
    async () => {
      const wanted = attempt({ config: { image: cluster.image('nothing:1') } });
      await expect(prepare(wanted)).rejects.toMatchObject({
        code: 'ImageNotFound',
        message: expect.stringContaining('has no image'),
      });
      await runtime.remove(wanted.key);
    },
    testTimeoutMs,
  );

  it(
    'whose name is no reference is left alone, and stands in no way',
    async () => {
      const key = await start(attempt());
      const { image: record } = await runtime.connection.call(ImagesService.get, { name: image });
      const odd = { ...record, name: 'localhost/My_Image:latest' } as Image;
      await runtime.connection.call(ImagesService.create, { image: odd, sourceDateEpoch: undefined });
      const names = await runtime.images();
      expect(names).toContain(image);
      expect(names).not.toContain(odd.name);
      const next = await open();
      await expect(next.images()).resolves.toEqual(names);
      await next.close();
      await runtime.connection.call(ImagesService.delete, DeleteImageRequest.fromPartial({ name: odd.name, sync: true }));
      await runtime.remove(key);
    },
    testTimeoutMs,
  );

  it(
    'of a registry that is down is RegistryUnavailable',
    async () => {
      await expect(prepare(attempt({ config: { image: '127.0.0.1:1/x:1' } }))).rejects.toMatchObject({ code: 'RegistryUnavailable' });
    },
    testTimeoutMs,
  );

  it.each([
    { what: 'without credentials', given: () => [] },
    { what: 'with a wrong password', given: () => credentials('wrong') },
    { what: 'with the password of another registry', given: () => [{ host: 'other.example.com', username: 'user', password: 'right' }] },
  ])(
    'that is private is ImageUnauthorized $what',
    async ({ given }) => {
      const wanted = attempt({ config: { image: privateImage() }, credentials: given() });
      await expect(prepare(wanted)).rejects.toMatchObject({ code: 'ImageUnauthorized' });
    },
    testTimeoutMs,
  );

  it(
    'that one namespace pulled is no key for another',
    async () => {
      const config = { image: privateImage() };
      const mine = attempt({ config, credentials: credentials('right') });
      const { baseDigest } = await prepare(mine);
      for (const digest of ['', baseDigest]) {
        const source = { kind: 'Image', digest } as const;
        await expect(prepare(attempt({ namespace: 'other', source, config }))).rejects.toMatchObject({ code: 'ImageUnauthorized' });
        await expect(
          prepare(attempt({ namespace: 'other', source, config: { ...config, imagePullPolicy: 'Never' } })),
        ).rejects.toMatchObject({ code: 'ImageUnauthorized' });
      }
      await locked.kill();
      const again = attempt({ source: { kind: 'Image', digest: baseDigest }, config });
      await expect(prepare(again)).resolves.toEqual({ baseDigest });
      await locked.start();
      const shown = attempt({ namespace: 'other', config, credentials: credentials('right') });
      await expect(prepare(shown)).resolves.toEqual({ baseDigest });
      for (const { key } of [mine, again, shown]) await runtime.remove(key);
    },
    testTimeoutMs,
  );

  it(
    'that is not here is not pulled with Never',
    async () => {
      const wanted = attempt({ config: { image: cluster.image('demo:2'), imagePullPolicy: 'Never' } });
      await expect(prepare(wanted)).rejects.toMatchObject({ code: 'ImageNotPresent' });
    },
    testTimeoutMs,
  );

  it(
    'whose name has come to mean something else is pulled anew with Always',
    async () => {
      const name = await cluster.pushImage('moving:1', await demoImage());
      const first = attempt({ config: { image: name } });
      const { baseDigest } = await prepare(first);
      await cluster.pushImage('moving:1', await demoImage({ Env: ['CHANGED=1'] }));
      const same = attempt({ config: { image: name } });
      await expect(prepare(same)).resolves.toEqual({ baseDigest });
      const pinned = attempt({ source: { kind: 'Image', digest: baseDigest }, config: { image: name, imagePullPolicy: 'Always' } });
      await expect(prepare(pinned)).resolves.toEqual({ baseDigest });
      const anew = attempt({ config: { image: name, imagePullPolicy: 'Always' } });
      expect((await prepare(anew)).baseDigest).not.toBe(baseDigest);
      for (const { key } of [first, same, pinned, anew]) await runtime.remove(key);
    },
    testTimeoutMs,
  );

  it(
    'whose name has come to mean something else is not what a snapshot that is there stands on',
    async () => {
      const etc = (content: string) => ({ path: 'etc/which', type: 'file', mode: 0o644, content }) as const;
      const name = await cluster.pushImage('moving:2', withLayer(await demoImage(), [etc('old')]));
      const config = { ...script('cat /etc/which'), image: name, imagePullPolicy: 'Always' } as const;
      const first = attempt({ config: { ...config, hash: 'one' } });
      const { baseDigest } = await prepare(first);
      await cluster.pushImage('moving:2', withLayer(await demoImage(), [etc('new')]));
      await expect(prepare(attempt({ key: first.key, config: { ...config, hash: 'two' } }))).resolves.toEqual({ baseDigest });
      expect(await found(first.key)).toMatchObject({ baseDigest, configHash: 'two' });
      await runtime.connection.call(TasksService.delete, { containerId: idOf(first.key) });
      await runtime.connection.call(ContainersService.delete, { id: idOf(first.key) });
      await expect(prepare(attempt({ key: first.key, config: { ...config, hash: 'three' } }))).resolves.toEqual({ baseDigest });
      await runtime.start(first.key);
      await exitOf(first.key);
      expect(logOf(first.key)).toContain('old');
      await runtime.remove(first.key);
    },
    testTimeoutMs,
  );

  it(
    'whose files went missing is pulled again',
    async () => {
      const name = await cluster.pushImage(
        'lost:1',
        withLayer(await demoImage(), [{ path: 'etc/lost', type: 'file', content: randomUUID() }]),
      );
      const first = attempt({ config: { image: name } });
      await prepare(first);
      await runtime.remove(first.key);
      await runner.ctr('berth', 'images', 'rm', '--sync', name);
      const second = attempt({ config: { image: name } });
      await prepare(second);
      await runtime.remove(second.key);
      expect(await runtime.images()).toContain(name);
    },
    testTimeoutMs,
  );

  it(
    'that is being pulled is given up when asked to',
    async () => {
      const name = await cluster.pushImage(
        'slow:1',
        withLayer(await demoImage(), [{ path: 'etc/slow', type: 'file', content: randomUUID() }]),
      );
      const gone = new Error('not wanted any more');
      const controller = new AbortController();
      const pulling = runtime.prepare(attempt({ config: { image: name } }), () => controller.abort(gone), controller.signal);
      await expect(pulling).rejects.toBe(gone);
    },
    testTimeoutMs,
  );
});

describe.each(['crun', 'runc'] as const)('with %s', (ociRuntime) => {
  let own: ContainerdRuntime;
  beforeAll(async () => {
    own = await open({ ociRuntime });
  }, testTimeoutMs);
  afterAll(() => own.close());

  it.each([
    { what: 'a command that is not there', config: { command: ['nope'] }, code: 'CommandNotFound', says: "'nope'" },
    { what: 'a path that is not there', config: { command: ['/no/such'] }, code: 'CommandNotFound', says: "'/no/such'" },
    { what: 'a file that is no program', config: { command: ['/etc/text'] }, code: 'CommandNotExecutable', says: "'/etc/text'" },
    { what: 'a directory', config: { command: ['/etc'] }, code: 'CommandNotExecutable', says: "'/etc'" },
    {
      what: 'a working directory that is a file',
      config: { workingDir: '/etc/passwd' },
      code: 'WorkingDirNotFound',
      says: "'/etc/passwd'",
    },
    { what: 'a name that is no image', config: { image: 'NOT an image' }, code: 'InvalidSpec', says: 'image reference' },
  ])(
    '$what is $code in one sentence',
    async ({ config, code, says }) => {
      const wanted = attempt({ config });
      await expect(prepare(wanted, own)).rejects.toMatchObject({ code, message: expect.stringContaining(says) });
      await own.remove(wanted.key);
      expect(await found(wanted.key, own)).toBeUndefined();
    },
    testTimeoutMs,
  );

  it(
    'a user that the image does not have is UserNotFound',
    async () => {
      const name = await cluster.pushImage('stranger:1', await demoImage({ User: 'stranger' }));
      const wanted = attempt({ config: { image: name } });
      await expect(prepare(wanted, own)).rejects.toMatchObject({ code: 'UserNotFound' });
      await own.remove(wanted.key);
    },
    testTimeoutMs,
  );

  it(
    'the user is who the image or the sandbox says',
    async () => {
      const name = await cluster.pushImage('user:1', await demoImage({ User: 'user', Env: ['PATH=/bin'] }));
      await expect(output('id; echo $HOME', { config: { image: name } }, own)).resolves.toBe('uid=1000(user) gid=1000(user)\n/home/user\n');
      await expect(output('id -u; id -g', { config: { runAsUser: 4242, runAsGroup: 99 } }, own)).resolves.toBe('4242\n99\n');
    },
    testTimeoutMs,
  );

  it(
    'unshare, mount and keyctl are refused, to root too',
    async () => {
      const printed = await output(
        'unshare -n true; unshare -U true; mount -t tmpfs none /tmp; mount -o remount,rw /proc/sys; probe; dmesg; chroot / true && echo end',
        {},
        own,
      );
      expect(printed.match(/^unshare: unshare\(0x\w+\): Operation not permitted$/gm)).toHaveLength(2);
      expect(printed.match(/^mount: permission denied \(are you root\?\)$/gm)).toHaveLength(2);
      expect(printed).toContain('"keyctl":"EPERM"');
      expect(printed).toContain('dmesg: klogctl: Operation not permitted');
      expect(printed).toContain('end\n');
    },
    testTimeoutMs,
  );

  it(
    'it has no new privileges, few capabilities, a filter, and cannot reach the machine',
    async () => {
      const printed = await output(
        'grep -E "^(NoNewPrivs|Seccomp|CapBnd|CapEff):" /proc/self/status; head -c1 /proc/keys | wc -c; echo x >/proc/sys/kernel/panic; mknod /tmp/disk b 8 0; mkdir /sys/fs/cgroup/memory/x || mkdir /sys/fs/cgroup/x; echo x >>/etc/hosts; ps | wc -l; ls /sys/class/net',
        {},
        own,
      );
      expect(printed).toMatch(/NoNewPrivs:\s1\n/);
      expect(printed).toMatch(/Seccomp:\s2\n/);
      expect(printed).toMatch(/CapEff:\s00000000200404fb\n/);
      expect(printed).toMatch(/CapBnd:\s00000000200404fb\n/);
      expect(printed).toContain('/proc/sys/kernel/panic: Read-only file system');
      expect(printed).toContain('mknod: /tmp/disk: Operation not permitted');
      expect(printed).toMatch(/mkdir: .*: Read-only file system/);
      expect(printed).toContain('/etc/hosts: Read-only file system');
      expect(printed.trim().split('\n').at(-1)).toBe('lo');
    },
    testTimeoutMs,
  );

  it(
    'the loopback interface works',
    async () => {
      // A server whose own input ends closes its side, and the client may then go before it has sent anything.
      const printed = await output(
        'mkfifo /tmp/open; nc -l -p 8000 0<>/tmp/open & for i in 1 2 3 4 5 6 7 8 9; do echo hello | nc localhost 8000 && break; sleep 0.2; done; wait',
        {},
        own,
      );
      expect(printed).toContain('hello');
    },
    testTimeoutMs,
  );

  it(
    'the limits are those of the sandbox',
    async () => {
      const limits = { cpuMillis: 250, memoryBytes: 48 * mebibyte, diskBytes: 0 };
      const printed = await output(
        'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max; cat pids/pids.max pids.max; cat cpu/cpu.cfs_quota_us cpu.max',
        { config: { limits, pidsLimit: 33 } },
        own,
      );
      expect(printed).toContain(`${48 * mebibyte}\n`);
      expect(printed).toMatch(/^33$/m);
      expect(printed).toMatch(/^25000( 100000)?$/m);
    },
    testTimeoutMs,
  );
});

describe('shims', () => {
  const shims = () => runner.sandboxProcesses().filter((pid) => commandLine(pid)[0]?.endsWith('containerd-shim-runc-v2'));
  /** Waits until a start may join the group of these members: what that takes is done beside their start. */
  const joinable = (on: ContainerdRuntime, ...members: CopyKey[]) =>
    eventually('the group to be open', async () => {
      const { list } = await on.connection.call(StoreService.list, { filters: [] });
      return list.some(({ sandboxId }) => members.map(idOf).includes(sandboxId)) || undefined;
    });
  const sleeping = () => attempt({ config: script('echo ready; exec sleep 1000') });

  it(
    'are shared by groups that may lose any member, and end with the last',
    async () => {
      const own = await open({ shimGroupSize: 3 });
      const before = shims().length;
      const keys: CopyKey[] = [];
      for (let count = 0; count < 6; count += 1) {
        keys.push(await start(sleeping(), own));
        await joinable(own, ...keys.slice(count - (count % 3)));
      }
      expect(shims().length - before).toBe(2);

      // The founder, whose task the others joined, goes first.
      await own.remove(keys.shift() ?? freshKey());
      await joinable(own, ...keys.slice(0, 2));
      keys.push(await start(sleeping(), own));
      expect(shims().length - before).toBe(2);
      for (const key of keys) expect(await found(key, own)).toMatchObject({ task: { state: 'Running' } });

      // Another agent takes them over.
      await own.close();
      const next = await open({ shimGroupSize: 3 });
      await next.remove(keys.shift() ?? freshKey());
      await joinable(next, ...[keys[0], keys.at(-1)].filter((key) => key !== undefined));
      keys.push(await start(sleeping(), next));
      expect(shims().length - before).toBe(2);
      await Promise.all(keys.map((key) => next.remove(key)));
      await eventually('the end of the shims', () => Promise.resolve(shims().length === before || undefined));
      await next.close();
    },
    testTimeoutMs,
  );

  it(
    'that die take their group along, and the next start goes elsewhere',
    async () => {
      const own = await open({ shimGroupSize: 3 });
      const events: RuntimeEvent[] = [];
      const ends = new AbortController();
      own.subscribe((event) => events.push(event), ends.signal);
      const key = await start(sleeping(), own);
      await joinable(own, key);
      const member = await start(sleeping(), own);
      for (const shim of shims()) process.kill(shim, 'SIGKILL');
      const third = await start(sleeping(), own);
      expect(await found(third, own)).toMatchObject({ task: { state: 'Running' } });
      for (const gone of [key, member]) {
        await own.stop(gone, 0, never);
        await start(attempt({ key: gone, source: { kind: 'Local' }, config: script('exec sleep 1000') }), own);
      }
      for (const one of [key, member, third]) await own.remove(one);
      ends.abort();
      await own.close();
    },
    testTimeoutMs,
  );

  it(
    'that die have ended nothing before the last process is gone',
    async () => {
      const own = await open({ shimGroupSize: 3 });
      const keys = [await start(attempt({ config: script('while :; do sleep 0.05; done') }), own)];
      await joinable(own, ...keys);
      keys.push(await start(attempt({ config: script('while :; do sleep 0.05; done') }), own));
      for (const key of keys) await own.annotate(key, { order: 1, contentVersion: 1 });
      for (const shim of shims()) process.kill(shim, 'SIGKILL');
      await eventually('the end of both', async () => {
        const states = await Promise.all(keys.map(async (key) => (await found(key, own))?.task.state));
        for (const [index, { uid, epoch }] of keys.entries()) {
          if (states[index] !== 'Running') expect(cgroupProcesses(`${runner.cgroupParent}/${uid}-${epoch}`)).toEqual([]);
        }
        return states.every((state) => state !== 'Running') || undefined;
      });
      for (const key of keys) await own.remove(key);
      await own.close();
    },
    testTimeoutMs,
  );

  it(
    'take many starts at once',
    async () => {
      const keys = await Promise.all(Array.from({ length: 12 }, () => start(sleeping())));
      const copies = await runtime.list();
      expect(copies.filter(({ task }) => task.state === 'Running')).toHaveLength(12);
      await Promise.all(keys.map((key) => runtime.remove(key)));
      expect(await runtime.list()).toEqual([]);
    },
    testTimeoutMs,
  );
});

describe('containerd killed', () => {
  it(
    'leaves what runs running; calls wait for it; exits in between are seen by list',
    async () => {
      const events: RuntimeEvent[] = [];
      const ends = new AbortController();
      runtime.subscribe((event) => events.push(event), ends.signal);
      const resubscribed = () => events.filter(({ kind }) => kind === 'Resubscribed').length;
      await eventually('the subscription', () => Promise.resolve(resubscribed() === 1 || undefined));
      const staying = await start(attempt({ config: script('echo ready; while :; do sleep 0.1; done') }));
      const ending = await start(attempt({ config: script('while [ ! -e /stop ]; do sleep 0.1; done; exit 4') }));
      const [pid] = cgroupProcesses(`${runner.cgroupParent}/${ending.uid}-${ending.epoch}`).map((process) => process.pid);
      await runner.containerd.kill();
      await run('touch', [`/proc/${String(pid)}/root/stop`]);
      const preparing = start(attempt({ config: script('echo late; sleep 1000') }));
      await runner.containerd.start();
      const late = await preparing;
      await logged(late, 'late');
      await eventually('the new subscription', () => Promise.resolve(resubscribed() === 2 || undefined));
      expect(await found(staying)).toMatchObject({ task: { state: 'Running' } });
      await expect(exitOf(ending)).resolves.toMatchObject({ code: 4, lost: false });
      for (const key of [staying, ending, late]) await runtime.remove(key);
      ends.abort();
    },
    testTimeoutMs,
  );

  it.each(['prepare', 'stop', 'remove'] as const)(
    'in the middle of a %s: it is finished',
    async (what) => {
      const busy = attempt({ config: script('trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done') });
      if (what !== 'prepare') {
        await start(busy);
        await logged(busy.key, 'ready');
      }
      const work = what === 'prepare' ? prepare(busy) : what === 'stop' ? runtime.stop(busy.key, 30, never) : runtime.remove(busy.key);
      const outcome = work.then(
        () => 'done',
        (error: unknown) => error,
      );
      await delay(20);
      await runner.containerd.kill();
      await runner.containerd.start();
      expect(await outcome).toBe('done');
      await runtime.remove(busy.key);
      expect(await found(busy.key)).toBeUndefined();
    },
    testTimeoutMs,
  );
});

describe('a machine that lost its power', () => {
  it(
    'has the files and no process; what is started again is under the new boot',
    async () => {
      const key = await start(attempt({ config: script('echo kept >/root/file; sync; echo ready; exec sleep 1000') }));
      await logged(key, 'ready');
      const prepared = attempt();
      await prepare(prepared);
      await runtime.close();
      await runner.powerOff();
      await runner.start({ agent: false });
      runtime = await open({ bootID: 'next boot' });
      expect(await found(key)).toMatchObject({ hasContent: true, bootID: 'boot', task: { state: 'None' } });
      await expect(runtime.stop(key, 10, never)).resolves.toBeUndefined();
      await start(attempt({ key, source: { kind: 'Local' }, config: script('cat /root/file; exec sleep 1000') }));
      await logged(key, 'kept');
      expect(await found(key)).toMatchObject({ bootID: 'next boot', task: { state: 'Running' } });
      await runtime.remove(key);
      await runtime.remove(prepared.key);
    },
    testTimeoutMs,
  );
});

describe('an agent', () => {
  it(
    'says what its containerd lacks',
    async () => {
      await expect(open({ snapshotter: 'none' })).rejects.toMatchObject({
        code: 'ContainerdIncomplete',
        message: expect.stringContaining('io.containerd.snapshotter.v1.none'),
      });
    },
    testTimeoutMs,
  );

  it(
    'does not take over the namespace of another installation or disk',
    async () => {
      await expect(open({ installID: 'other' })).rejects.toMatchObject({ code: 'NamespaceNotOurs' });
      await expect(open({ storeID: 'other' })).rejects.toMatchObject({ code: 'NamespaceNotOurs' });
    },
    testTimeoutMs,
  );

  it(
    'sees its copies whose records are together more than one message may carry',
    async () => {
      const key = await start(attempt({ config: script('exec sleep 1000') }));
      const { container: record } = await runtime.connection.call(ContainersService.get, { id: idOf(key) });
      const spec = { typeUrl: record?.spec?.typeUrl ?? '', value: Buffer.alloc(2 * mebibyte, ' ') };
      const large = Array.from({ length: 9 }, freshKey);
      for (const one of large) {
        const container = Container.fromPartial({ ...record, id: idOf(one), snapshotKey: '', spec });
        container.labels = { ...record?.labels, [LABELS.uid]: one.uid };
        await runtime.connection.call(ContainersService.create, { container });
      }
      await expect(runtime.connection.call(ContainersService.list, { filters: [] })).rejects.toMatchObject({ grpcCode: 8 });
      expect(await runtime.list()).toHaveLength(10);
      const next = await open();
      expect(await found(key, next)).toMatchObject({ task: { state: 'Running' } });
      for (const one of [key, ...large]) await next.remove(one);
      await next.close();
    },
    testTimeoutMs,
  );

  it(
    'finds after a restart what ran, what was prepared and what had exited',
    async () => {
      const running = await start(attempt({ config: script('sleep 1000') }));
      const prepared = attempt();
      await prepare(prepared);
      const exited = await start(attempt({ config: script('exit 9') }));
      await exitOf(exited);
      await runtime.close();
      runtime = await open();
      const states = new Map((await runtime.list()).map(({ key, task }) => [key.uid, task]));
      expect(states.get(running.uid)).toMatchObject({ state: 'Running' });
      expect(states.get(prepared.key.uid)).toEqual({ state: 'Created' });
      expect(states.get(exited.uid)).toMatchObject({ state: 'Stopped', exit: { code: 9 } });
      await runtime.start(prepared.key);
      for (const key of [running, prepared.key, exited]) await runtime.remove(key);
    },
    testTimeoutMs,
  );

  it(
    'leaves nothing behind',
    async () => {
      expect(await runtime.list()).toEqual([]);
      await expect(runner.ctr('berth', 'containers', 'ls', '-q')).resolves.toBe('');
      await expect(runner.ctr('berth', 'tasks', 'ls', '-q')).resolves.toBe('');
      const snapshots = await runner.ctr('berth', 'snapshots', 'ls');
      expect(snapshots.split('\n').filter((line) => line.endsWith('Active'))).toEqual([]);
      expect(readdirSync(join(runner.agentStateDir, 'logs'))).toEqual([]);
      expect(cgroupProcesses(runner.cgroupParent)).toEqual([]);
      const cgroup = join('/sys/fs/cgroup/memory', runner.cgroupParent);
      expect(existsSync(cgroup) ? readdirSync(cgroup, { withFileTypes: true }).filter((entry) => entry.isDirectory()) : []).toEqual([]);
      await eventually('the shim groups to be forgotten', async () => {
        const { list } = await runtime.connection.call(StoreService.list, { filters: [] });
        return list.length === 0 || undefined;
      });
    },
    testTimeoutMs,
  );
});
