import { setTimeout as delay } from 'node:timers/promises';
import { toStderr } from '../../hack/progress.ts';
import { Cluster } from '../harness/cluster.ts';
import { demoImage } from '../harness/images.ts';
import { readKubeconfig } from '../harness/kubeconfig.ts';
import { containerOf } from '../system/lying-on.ts';
import { BareContainerd, type Template } from './bare.ts';
import { Sandboxes } from './sandboxes.ts';
import type { SeenStart } from './phases.ts';

export interface BedOptions {
  readonly etcdFsync: boolean;
  /** Of operator and agent. */
  readonly logLevel: 'info' | 'debug';
}

/** A Berth with one runner, a client that watches, and the same containerd without Berth. */
export class Bed implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly sandboxes: Sandboxes;
  readonly #image: string;
  #bare: { readonly containerd: BareContainerd; readonly template: Template } | undefined;

  private constructor(cluster: Cluster, image: string) {
    this.cluster = cluster;
    this.#image = image;
    this.sandboxes = new Sandboxes({ ...readKubeconfig(cluster.kubeconfig), namespace: 'default' });
  }

  static async make({ etcdFsync, logLevel }: BedOptions): Promise<Bed> {
    const env = { BERTH_LOG_LEVEL: logLevel };
    const cluster = await Cluster.start({ etcdFsync, operatorEnv: env, agentEnv: env, log: toStderr });
    const bed = new Bed(cluster, await cluster.pushImage('demo:1', await demoImage()));
    await bed.sandboxes.watch();
    await bed.#readTemplate();
    return bed;
  }

  get template(): Template {
    return this.#prepared.template;
  }

  /** From the moment when the POST was answered to the one in which Started was seen. */
  async startThroughBerth(name: string): Promise<SeenStart> {
    const started = this.sandboxes.started(name);
    const { at, uid } = await this.sandboxes.create(name, { image: this.#image, resources: { limits: { cpu: '500m', memory: '64Mi' } } });
    const seen = await started;
    return { name, uid, answered: performance.timeOrigin + at, seen: performance.timeOrigin + seen };
  }

  /** The four calls. */
  async startBare(name: string): Promise<{ readonly answered: number; readonly seen: number }> {
    const { containerd, template } = this.#prepared;
    const answered = performance.now();
    await containerd.start(template, `bare-${name}`);
    return { answered, seen: performance.now() };
  }

  async removeBare(name: string): Promise<void> {
    const { containerd, template } = this.#prepared;
    await containerd.remove(template, `bare-${name}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sandboxes.close();
    this.#bare?.containerd.close();
    await this.cluster.stop();
  }

  get #prepared() {
    if (this.#bare === undefined) throw new Error('the bed is not made');
    return this.#bare;
  }

  /** The first sandbox has a shim of its own, which the next ones join: as they do, so does what is repeated from the second. */
  async #readTemplate(): Promise<void> {
    await this.startThroughBerth('first');
    await delay(1_000);
    const { uid } = await this.startThroughBerth('template');
    const runner = this.cluster.runner('runner-1');
    const { namespace, id } = await containerOf(runner, uid);
    const containerd = new BareContainerd(runner.socket, namespace);
    this.#bare = { containerd, template: await containerd.read(id) };
  }
}
