import { chown, copyFile, mkdir } from 'node:fs/promises';
import { delimiter, dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BerthError } from '../../process/errors.ts';
import { Cluster } from '../../test/harness/cluster.ts';
import { demoImage } from '../../test/harness/images.ts';
import { main } from '../fail.ts';
import { withLock } from '../lock.ts';
import { elapsed, toStderr } from '../progress.ts';
import { displayPath, kubeconfigFile, local, localPorts, lockFile, portVariable, requireRoot } from './instance.ts';

const demo = { name: 'demo', image: 'demo:1', path: '/apis/berth.dev/v1alpha1/namespaces/default/sandboxes/demo' } as const;
const yearSeconds = 365 * 24 * 3600;

/** `make up`: a local Berth that stays. Repeating it repairs what is missing and replaces what is older than the clone. */
await main(async () => {
  requireRoot('up');
  const begin = performance.now();
  await withLock(lockFile, toStderr, async () => {
    const cluster = await start().catch((error: unknown) => {
      throw withWayOut(error);
    });
    await writeKubeconfig(cluster.kubeconfig);
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
    operators: 1,
    persistent: true,
    ports: localPorts(),
    portAdvice: `choose another block of ports, as in "${portVariable}=13000 make up"`,
    tokenSeconds: yearSeconds,
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

/** The kubeconfig belongs to the person who called sudo. */
async function writeKubeconfig(source: string): Promise<void> {
  const directory = dirname(kubeconfigFile);
  await mkdir(directory, { recursive: true });
  await copyFile(source, kubeconfigFile);
  const { SUDO_UID: uid, SUDO_GID: gid } = process.env;
  if (uid === undefined || gid === undefined) return;
  for (const path of [directory, kubeconfigFile]) await chown(path, Number(uid), Number(gid));
}

interface DemoStatus {
  readonly state?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly runnerName?: string;
}

/** The demo sandbox is made once; afterwards it is the user's and left as it is. */
async function ensureDemo(cluster: Cluster, image: string): Promise<void> {
  const existing = await cluster.api.call('GET', demo.path);
  if (existing.status === 404) {
    const sandbox = {
      apiVersion: 'berth.dev/v1alpha1',
      kind: 'Sandbox',
      metadata: { name: demo.name, namespace: 'default' },
      spec: { image },
    };
    await cluster.api.ok('POST', demo.path.replace(/\/demo$/, ''), sandbox);
  }
  const begin = performance.now();
  for (let seen = ''; ;) {
    const { spec, status } = (await cluster.api.ok('GET', demo.path)) as { spec?: { desiredState?: string }; status?: DemoStatus };
    const state = status?.state ?? 'Pending';
    if (state !== seen) toStderr(`sandbox ${demo.name}: ${[state, status?.runnerName].filter((word) => word !== undefined).join(' on ')}`);
    seen = state;
    if (state === (spec?.desiredState ?? 'Started')) return;
    if (performance.now() - begin > 180_000) throw notStarted(status, cluster);
    await delay(50);
  }
}

function notStarted(status: DemoStatus | undefined, cluster: Cluster): BerthError {
  const why = [status?.reason, status?.message].filter((word) => word !== undefined && word !== '').join(': ');
  return new BerthError(
    'DemoNotStarted',
    `The demo sandbox is ${status?.state ?? 'not looked at'} after 3 minutes (${why || 'no reason given'}); logs: ${cluster.logDir}.`,
  );
}

function nextSteps(cluster: Cluster, image: string): string {
  const kubectlDirectory = dirname(cluster.tools.kubectl);
  const onPath = (process.env.PATH ?? '').split(delimiter).includes(kubectlDirectory);
  return `
Berth runs here. Try:

  export KUBECONFIG=${kubeconfigFile}${onPath ? '' : `\n  export PATH=$PATH:${kubectlDirectory}`}
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
