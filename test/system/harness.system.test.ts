import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { Cluster } from '../harness/cluster.ts';
import { removeCgroup } from '../harness/cgroups.ts';
import { systemNamespace, operatorAudience } from '../harness/identity.ts';
import { demoImage, pushImage, withLayer } from '../harness/images.ts';
import { defaultDataDir, defaultStateDir } from '../harness/ledger.ts';
import type { Runner } from '../harness/runner.ts';
import { commandLine, processesRootedBelow } from '../harness/processes.ts';
import { remainsOf, sweep, sweepAbandoned } from '../harness/sweep.ts';

/** The first start on a machine compiles kube-apiserver and containerd. */
const startTimeoutMs = 1_800_000;
const testTimeoutMs = 180_000;
const bare = { operators: 0, agents: false } as const;
const place = (instance: string) => ({ instance, stateDir: defaultStateDir(instance), dataDir: defaultDataDir(instance) });

/** Runs the demo image as a container by hand, in the cgroup that the agent would use. */
async function runContainer(cluster: Cluster, runner: Runner, id: string): Promise<void> {
  const image = await cluster.pushImage('demo:1', await demoImage());
  await runner.ctr('by-hand', 'image', 'pull', '--plain-http', image);
  await runner.ctr('by-hand', 'run', '--detach', '--cgroup', `${runner.cgroupParent}/${id}`, image, id);
}

const inContainer = (runner: Runner, id: string, script: string) =>
  runner.ctr('by-hand', 'task', 'exec', '--exec-id', `e${Math.random()}`, id, 'sh', '-c', script);
const tasks = async (runner: Runner) =>
  (await runner.ctr('by-hand', 'task', 'ls'))
    .split('\n')
    .slice(1)
    .map((line) => line.split(/\s+/));

describe('two instances at once', () => {
  let one: Cluster;
  let other: Cluster;
  beforeAll(async () => {
    [one, other] = [await Cluster.start({ ...bare, runners: ['runner-1', 'runner-2'] }), await Cluster.start(bare)];
  }, startTimeoutMs);
  afterAll(async () => {
    await Promise.all([one.stop(), other.stop()]);
    expect([one, other].flatMap(({ instance }) => remainsOf(place(instance)))).toEqual([]);
  }, testTimeoutMs);

  it('keep their objects apart', async () => {
    await one.kubectl('create', 'configmap', 'mine', '--from-literal=of=one');
    await expect(one.kubectl('get', 'configmap', 'mine', '-o', 'name')).resolves.toBe('configmap/mine');
    await expect(other.kubectl('get', 'configmap', 'mine')).rejects.toThrow(/not found/);
  });

  it('keep what they stored when etcd, the API server or the registry is killed and started again', async () => {
    await one.kubectl('create', 'configmap', 'kept', '--from-literal=a=b');
    await one.pushImage('kept:1', await demoImage());
    for (const part of [one.etcd, one.apiserver, one.registry]) {
      const { pid } = part;
      await part.kill();
      expect(part.isRunning).toBe(false);
      await part.start();
      expect(part.pid).not.toBe(pid);
    }
    await one.apiserver.waitReady();
    await expect(one.kubectl('get', 'configmap', 'kept', '-o', 'jsonpath={.data.a}')).resolves.toBe('b');
    await one.runner('runner-2').ctr('by-hand', 'image', 'pull', '--plain-http', one.image('kept:1'));
  }, 120_000);

  it('answer nothing while frozen and go on when thawed', async () => {
    one.registry.freeze();
    await expect(one.registry.waitReady(200)).rejects.toMatchObject({ code: 'PartNotReady' });
    one.registry.thaw();
    await one.registry.waitReady();
  });

  it('say in the access log what was pulled', async () => {
    await other.pushImage('seen:1', await demoImage());
    await other.runner('runner-1').ctr('by-hand', 'image', 'pull', '--plain-http', other.image('seen:1'));
    expect(other.registry.accessLog().filter((line) => line.includes('"GET /v2/seen/blobs/')).length).toBeGreaterThan(0);
    expect(one.registry.accessLog().filter((line) => line.includes('/v2/seen/'))).toEqual([]);
  });

  it(
    'keep a container running while its containerd is killed and started again',
    async () => {
      const runner = one.runner('runner-1');
      await runContainer(one, runner, 'survivor');
      await inContainer(runner, 'survivor', 'echo kept >/root/file');
      const [before] = await tasks(runner);
      await runner.containerd.kill();
      await runner.containerd.start();
      expect(await tasks(runner)).toEqual([before]);
      await expect(inContainer(runner, 'survivor', 'cat /root/file')).resolves.toBe('kept');
    },
    testTimeoutMs,
  );

  it(
    'lose what runs and keep the files when a machine loses power, and boot with another boot id',
    async () => {
      const runner = one.runner('runner-2');
      await runContainer(one, runner, 'unlucky');
      await inContainer(runner, 'unlucky', 'echo kept >/root/file && sync');
      const bootID = await runner.exec('cat', '/proc/sys/kernel/random/boot_id');
      await runner.powerOff();
      expect(runner.sandboxProcesses()).toEqual([]);
      await runner.start({ agent: false });
      expect(await runner.exec('cat', '/proc/sys/kernel/random/boot_id')).not.toBe(bootID);
      expect(await tasks(runner)).toEqual([]);
      await runner.ctr('by-hand', 'task', 'start', '--detach', 'unlucky');
      await expect(inContainer(runner, 'unlucky', 'cat /root/file')).resolves.toBe('kept');
    },
    testTimeoutMs,
  );

  it(
    'build images whose layers show with their modes, owners, links and whiteouts',
    async () => {
      const image = withLayer(await demoImage(), [
        { path: 'srv', type: 'directory', mode: 0o750, uid: 1000, gid: 1000 },
        { path: 'srv/secret', type: 'file', mode: 0o4711, uid: 1000, gid: 65534, content: 'text' },
        { path: 'srv/again', type: 'hardlink', target: 'srv/secret' },
        { path: 'srv/link', type: 'symlink', target: 'secret' },
        { path: 'home/.wh.user', type: 'file', content: '' },
      ]);
      const runner = other.runner('runner-1');
      const name = await other.pushImage('layers:1', image);
      await runner.ctr('by-hand', 'image', 'pull', '--plain-http', name);
      const script = 'cd /srv; stat -c "%n %a %u %g %h" . secret; readlink link; cat again; ls /home';
      const shown = await runner.ctr(
        'by-hand',
        'run',
        '--rm',
        '--cgroup',
        `${runner.cgroupParent}/layers`,
        name,
        'layers',
        'sh',
        '-c',
        script,
      );
      expect(shown.split('\n')).toEqual(['. 750 1000 1000 2', 'secret 4711 1000 65534 2', 'secret', 'text']);
    },
    testTimeoutMs,
  );

  it(
    'take an image by TLS with a name and a password, and refuse it without',
    async () => {
      const guarded = await other.addRegistry('guarded', { tls: other.authority, credentials: { username: 'puller', password: 'p:w' } });
      const runner = other.runner('runner-1');
      await pushImage(guarded, 'private:1', await demoImage());
      const pull = (...options: string[]) =>
        runner.ctr(
          'by-hand',
          'image',
          'pull',
          '--local',
          '--tlscacert',
          other.authority.caFile,
          ...options,
          `${guarded.address}/private:1`,
        );
      await expect(pull()).rejects.toThrow(/401 Unauthorized|authorization failed|no basic auth/);
      await pull('--user', 'puller:p:w');
    },
    testTimeoutMs,
  );
});

describe('who may do what', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start({ ...bare, runners: ['runner-1', 'runner-2'] });
  }, startTimeoutMs);
  afterAll(() => cluster.stop(), testTimeoutMs);

  const leasePath = `/apis/coordination.k8s.io/v1/namespaces/${systemNamespace}/leases`;
  const runnersPath = '/apis/berth.dev/v1alpha1/runners';
  const lease = (name: string) => ({ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name } });
  const runner = (name: string) => ({ apiVersion: 'berth.dev/v1alpha1', kind: 'Runner', metadata: { name }, spec: {} });
  const agentOf = async (node: string | undefined) =>
    cluster.api.as(await cluster.token({ serviceAccount: 'berth-agent', ...(node === undefined ? {} : { node }) }));

  it.each([
    { who: 'runner-1', makes: lease('runner-runner-1'), at: leasePath, status: 201 },
    { who: 'runner-1', makes: lease('runner-runner-2'), at: leasePath, status: 403 },
    { who: 'runner-1', makes: lease('berth-operator'), at: leasePath, status: 403 },
    { who: undefined, makes: lease('runner-runner-1'), at: leasePath, status: 403 },
    { who: 'runner-1', makes: runner('runner-1'), at: runnersPath, status: 201 },
    { who: 'runner-1', makes: runner('runner-2'), at: runnersPath, status: 403 },
    { who: undefined, makes: runner('runner-2'), at: runnersPath, status: 403 },
  ])('the agent on $who making $makes.kind $makes.metadata.name is answered $status', async ({ who, makes, at, status }) => {
    const agent = await agentOf(who);
    try {
      expect((await agent.call('POST', at, makes)).status).toBe(status);
    } finally {
      await agent.close();
    }
  });

  it('an agent writes the status of its own runner only, and never a spec', async () => {
    await cluster.api.ok('POST', runnersPath, runner('runner-2'));
    const agent = await agentOf('runner-2');
    const patch = (path: string, body: object) => agent.call('PATCH', `${runnersPath}/${path}`, body, 'application/merge-patch+json');
    try {
      expect((await patch('runner-2/status', { status: { version: 'x' } })).status).toBe(200);
      expect((await patch('runner-1/status', { status: { version: 'x' } })).status).toBe(403);
      expect((await patch('runner-2', { spec: { unschedulable: true } })).status).toBe(403);
    } finally {
      await agent.close();
    }
  });

  it('a token for operators names its node and is none for the API server', async () => {
    const token = await cluster.token({ serviceAccount: 'berth-agent', node: 'runner-1', audience: operatorAudience });
    const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences: [operatorAudience] } };
    const { status } = (await cluster.api.ok('POST', '/apis/authentication.k8s.io/v1/tokenreviews', review)) as {
      status: { authenticated: boolean; user: { username: string; extra: Record<string, string[]> } };
    };
    expect(status.authenticated).toBe(true);
    expect(status.user.username).toBe(`system:serviceaccount:${systemNamespace}:berth-agent`);
    expect(status.user.extra['authentication.kubernetes.io/node-name']).toEqual(['runner-1']);
    const agent = cluster.api.as(token);
    expect((await agent.call('GET', runnersPath)).status).toBe(401);
    await agent.close();
  });

  it.each([
    { given: undefined, want: ['berth.dev/sandbox'] },
    { given: ['example.com/mine'], want: ['example.com/mine', 'berth.dev/sandbox'] },
    { given: ['berth.dev/sandbox'], want: ['berth.dev/sandbox'] },
  ])('a sandbox made with the finalizers $given has $want', async ({ given, want }) => {
    const metadata = { generateName: 'f-', ...(given === undefined ? {} : { finalizers: given }) };
    const body = { apiVersion: 'berth.dev/v1alpha1', kind: 'Sandbox', metadata, spec: { image: 'x' } };
    const made = await cluster.api.ok('POST', '/apis/berth.dev/v1alpha1/namespaces/default/sandboxes', body);
    expect((made.metadata as { finalizers: string[] }).finalizers).toEqual(want);
  });

  it('the operator reads a Secret by its name and lists none', async () => {
    await cluster.kubectl('create', 'secret', 'generic', 'named', '--from-literal=a=b');
    const operator = cluster.api.as(await cluster.token({ serviceAccount: 'berth-operator' }));
    expect((await operator.call('GET', '/api/v1/namespaces/default/secrets/named')).status).toBe(200);
    expect((await operator.call('GET', '/api/v1/namespaces/default/secrets')).status).toBe(403);
    await operator.close();
  });

  it('a fixed port in use is refused with the process that holds it', async () => {
    const port = Number(new URL(cluster.api.server).port);
    const failure = Cluster.start({ ...bare, ports: { registry: port }, portAdvice: 'choose another' });
    await expect(failure).rejects.toMatchObject({ code: 'PortInUse' });
    await expect(failure).rejects.toThrow(
      new RegExp(`Port ${port}, which the registry needs, is used by process ${cluster.apiserver.pid} .*: stop it, or choose another`),
    );
  });
});

describe('what a crashed run leaves', () => {
  afterEach(() => removeCgroup('/berth-elsewhere'));

  const crash = async (instance: string) => {
    const fixture = join(import.meta.dirname, '..', 'harness', 'crash.fixture.ts');
    const { signal } = await execa(process.execPath, [fixture, instance], { reject: false, env: { NODE_NO_WARNINGS: '1' } });
    expect(signal).toBe('SIGKILL');
    const shells = processesRootedBelow(place(instance).dataDir).filter(({ pid }) => commandLine(pid)[0] === '/bin/sh');
    expect(shells).toHaveLength(2);
    const remains = remainsOf(place(instance)).join('\n');
    for (const kind of [/process .*kube-apiserver/, /process .*containerd-shim/, /process .*\/bin\/sh/, /^cgroup /m, /^directory /m])
      expect(remains).toMatch(kind);
  };

  it(
    'is removed by the next start of any instance',
    async () => {
      await crash('crashed-1');
      const said: string[] = [];
      await sweepAbandoned((line) => said.push(line));
      expect(said).toContain('removing the remains of the crashed instance "crashed-1"');
      expect(remainsOf(place('crashed-1'))).toEqual([]);
    },
    startTimeoutMs,
  );

  it(
    'is removed without the ledger too, also when the container is frozen',
    async () => {
      await crash('crashed-2');
      const there = place('crashed-2');
      const frozen = '/sys/fs/cgroup/freezer/berth-crashed-2/runner-1/one/freezer.state';
      if (existsSync(frozen)) await execa('sh', ['-c', `echo FROZEN >${frozen}`]);
      await execa('rm', [join(there.stateDir, 'ledger.json')]);
      await sweep(there);
      expect(remainsOf(there)).toEqual([]);
      await removeCgroup('/berth-crashed-2');
    },
    startTimeoutMs,
  );
});
