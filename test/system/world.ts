import { jest } from '@jest/globals';
import type { Sandbox } from '../../crds/sandbox.ts';
import { Cluster, type ClusterOptions } from '../harness/cluster.ts';
import { demoImage } from '../harness/images.ts';
import type { Runner } from '../harness/runner.ts';
import { waitConnected } from '../harness/wait-connected.ts';
import { aSandbox } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { written } from './lying-on.ts';
import { User } from './user.ts';

/** A test waits for several things, each for as long as `eventually` does. */
jest.setTimeout(900_000);

/** For beforeAll and afterAll: the first start on a machine compiles kube-apiserver and containerd. */
export const startTimeoutMs = 1_800_000;

/** A Berth with a demo image in its registry, and somebody who uses it. */
export class World {
  readonly cluster: Cluster;
  readonly user: User;
  /** The demo image: a busybox. */
  readonly image: string;

  private constructor(cluster: Cluster, image: string) {
    this.cluster = cluster;
    this.image = image;
    this.user = new User({ kubectl: cluster.tools.kubectl, kubeconfig: cluster.kubeconfig, api: cluster.api });
  }

  /** Starts it and waits until every agent is connected to every operator. */
  static async start(options: ClusterOptions = {}): Promise<World> {
    const cluster = await Cluster.start(options);
    try {
      return new World(cluster, await cluster.pushImage('demo:1', await demoImage()));
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** Resolves when the API server, which was started again, serves sandboxes and runners. */
  async served(): Promise<void> {
    await eventually('sandboxes and runners are served', async () => {
      const { exitCode } = await this.user.try(['get', 'sandboxes,runners', '-o', 'name']);
      if (exitCode !== 0) return undefined;
      // Admission policies learn the kinds of custom resources a little later than they are served.
      const probe = JSON.stringify(aSandbox('served', { image: this.image }));
      return (await this.user.try(['create', '--dry-run=server', '-f', '-'], probe)).exitCode === 0 ? true : undefined;
    });
  }

  /** Resolves when every agent is connected to every operator that leads. */
  async connected(): Promise<void> {
    await waitConnected(
      this.cluster.api,
      this.cluster.runners.map(({ name }) => name),
    );
  }

  async stop(): Promise<void> {
    await this.cluster.stop();
  }

  /** How often the main program of a `remembering` sandbox was started. A program that runs may not have come so far yet: waits for `atLeast`. */
  async boots(name: string, atLeast = 1): Promise<number> {
    const { metadata, status } = await this.user.sandbox({ name });
    const runner = this.runnerOf({ status });
    const count = (text: string) => text.split('\n').filter((line) => line.startsWith('boot')).length;
    return count(await written(runner, metadata.uid, '/data/boots', (text) => count(text) >= atLeast));
  }

  /** The runner that a sandbox is on. */
  runnerOf({ status }: Pick<Sandbox, 'status'>): Runner {
    if (status.runnerName === undefined) throw new Error('the sandbox has no runner');
    return this.cluster.runner(status.runnerName);
  }
}

/** A Secret with credentials for one registry. */
export function pullSecret(
  name: string,
  host: string,
  { username, password }: { readonly username: string; readonly password: string },
): object {
  const config = { auths: { [host]: { username, password, auth: Buffer.from(`${username}:${password}`).toString('base64') } } };
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    type: 'kubernetes.io/dockerconfigjson',
    stringData: { '.dockerconfigjson': JSON.stringify(config) },
  };
}
