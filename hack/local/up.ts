import { existsSync } from 'node:fs';
import { chown, constants, copyFile, mkdir, rm } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BerthError } from '../../process/errors.ts';
import { Cluster } from '../../test/harness/cluster.ts';
import { demoImage } from '../../test/harness/images.ts';
import { main } from '../fail.ts';
import { withLock } from '../lock.ts';
import { elapsed, toStderr } from '../progress.ts';
import {
  binDirectory,
  displayPath,
  kubeconfigFile,
  local,
  localOperators,
  localPorts,
  lockFile,
  portVariable,
  requireRoot,
} from './instance.ts';

const demo = { name: 'demo', image: 'demo:1', path: '/apis/berth.dev/v1alpha1/namespaces/default/sandboxes/demo' } as const;
const ownKubectl = join(binDirectory, 'kubectl');
const yearSeconds = 365 * 24 * 3600;

/** `make up`: a local Berth that stays. Repeating it repairs what is missing and replaces what is older than the clone. */
await main(async () => {
  requireRoot('up');
  const begin = performance.now();
  await withLock(lockFile, toStderr, async () => {
    const cluster = await start().catch((error: unknown) => {
      throw withWayOut(error);
    });
    await writeForUser(cluster);
    const image = await cluster.pushImage(demo.image, await demoImage());
    toStderr(`image: ${image}`);
    await ensureDemo(cluster, image);
    toStderr(`up in ${elapsed(begin)}`);
    console.log(nextSteps(cluster, image));
    await cluster.api.close();
  });
});

function start(): Promise<Cluster> {
  return Cluster.start({
    ...local,
    runners: ['runner-1', 'runner-2'],
    operators: localOperators(),
    persistent: true,
    ports: localPorts(),
    portAdvice: `choose another block of ports, as in "${portVariable}=13000 make up"`,
    tokenSeconds: yearSeconds,
    backups: true,
    operatorEnv: { BERTH_LOG_LEVEL: 'info' },
    agentEnv: { BERTH_LOG_LEVEL: 'info' },
    log: toStderr,
  });
}

/** What "make up" can not repair is removed by "make down". */
function withWayOut(error: unknown): unknown {
  if (!(error instanceof BerthError)) return error;
  const { summary } = error.details;
  if (typeof summary !== 'string') return error;
  return new BerthError(error.code, `${summary}. If it stays so, "make down" and then "make up" starts afresh.`, { cause: error });
}

/** What the quick start names lies in the clone and belongs to the person who called sudo: the kubeconfig, and kubectl where PATH has none. */
async function writeForUser(cluster: Cluster): Promise<void> {
  await mkdir(binDirectory, { recursive: true });
  await copyFile(cluster.kubeconfig, kubeconfigFile);
  if (!isOnPath(cluster.tools.kubectl)) {
    // A copy: the cache of root is not open to others.
    await rm(ownKubectl, { force: true });
    await copyFile(cluster.tools.kubectl, ownKubectl, constants.COPYFILE_FICLONE);
  }
  const { SUDO_UID: uid, SUDO_GID: gid } = process.env;
  if (uid === undefined || gid === undefined) return;
  for (const path of [dirname(kubeconfigFile), kubeconfigFile, binDirectory, ownKubectl])
    if (existsSync(path)) await chown(path, Number(uid), Number(gid));
}

function isOnPath(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).includes(dirname(program));
}

interface DemoStatus {
  readonly state?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly runnerName?: string;
}

/** The demo sandbox is made once and waited for; afterwards it is the user's: its state is told, whatever it is. */
async function ensureDemo(cluster: Cluster, image: string): Promise<void> {
  const existing = await cluster.api.call('GET', demo.path);
  if (existing.status !== 404) {
    toStderr(`sandbox ${demo.name}: ${stateOf(await demoStatus(cluster))} (made by an earlier run, left as it is)`);
    return;
  }
  await cluster.api.ok('POST', demo.path.replace(/\/demo$/, ''), {
    apiVersion: 'berth.dev/v1alpha1',
    kind: 'Sandbox',
    metadata: { name: demo.name, namespace: 'default' },
    spec: { image },
  });
  const begin = performance.now();
  for (let seen = ''; ;) {
    const status = await demoStatus(cluster);
    const state = stateOf(status);
    if (state !== seen) toStderr(`sandbox ${demo.name}: ${state}`);
    seen = state;
    if (status?.state === 'Started') return;
    if (performance.now() - begin > 180_000) throw notStarted(status, cluster);
    await delay(50);
  }
}

async function demoStatus(cluster: Cluster): Promise<DemoStatus | undefined> {
  return ((await cluster.api.ok('GET', demo.path)) as { status?: DemoStatus }).status;
}

function stateOf(status: DemoStatus | undefined): string {
  return [status?.state ?? 'Pending', status?.runnerName].filter((word) => word !== undefined && word !== '').join(' on ');
}

function notStarted(status: DemoStatus | undefined, cluster: Cluster): BerthError {
  const why = [status?.reason, status?.message].filter((word) => word !== undefined && word !== '').join(': ');
  return new BerthError(
    'DemoNotStarted',
    `The demo sandbox is ${status?.state ?? 'not looked at'} after 3 minutes (${why || 'no reason given'}); logs: ${cluster.logDir}.`,
  );
}

function nextSteps(cluster: Cluster, image: string): string {
  return `
Berth runs here. Try:

  export KUBECONFIG=${kubeconfigFile}${isOnPath(cluster.tools.kubectl) ? '' : `\n  export PATH=${binDirectory}:$PATH`}
  kubectl get sandboxes,runners
  kubectl describe sandbox ${demo.name}
  kubectl patch sandbox ${demo.name} --type merge -p '{"spec":{"desiredState":"Stopped"}}'
  kubectl wait sandbox ${demo.name} --for=jsonpath='{.status.state}'=Stopped
  kubectl patch sandbox ${demo.name} --type merge -p '{"spec":{"desiredState":"Started"}}'

  registry      ${cluster.registry.url} (image ${image})
  operator      ${cluster.operators.map((operator) => operator.url).join(', ')}, metrics ${cluster.operators.map((operator) => `${operator.healthUrl}/metrics`).join(', ')}
  logs          ${displayPath(cluster.logDir)}
  make status   says which parts run; make up repairs; make down removes everything
`;
}
