import { randomUUID } from 'node:crypto';
import { request } from 'undici';
import { toStderr } from '../../hack/progress.ts';
import { CopyState } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { Cluster } from '../harness/cluster.ts';
import { systemNamespace } from '../harness/identity.ts';
import { demoImage } from '../harness/images.ts';
import { freePort } from '../harness/ports.ts';
import { eventually } from '../system/eventually.ts';
import { LateHub } from '../system/late-hub.ts';
import { inside } from '../system/lying-on.ts';
import { inFilesOf } from '../system/mounted-copy.ts';
import { Ordering, toBackUp } from '../system/ordering.ts';
import { BackupByHand } from './by-hand.ts';

type Base = Parameters<BackupByHand['run']>[1];

/** One agent, ordered about without operators, its containerd and a registry, and the same two without the agent. */
export class BackupBed implements AsyncDisposable {
  readonly #cluster: Cluster;
  readonly #hub: LateHub;
  readonly #agent: Ordering;
  readonly #hand: BackupByHand;
  readonly #base: Base;
  #order = 1;
  #backup = 0;

  private constructor(cluster: Cluster, hub: LateHub, agent: Ordering, base: Base) {
    this.#cluster = cluster;
    this.#hub = hub;
    this.#agent = agent;
    this.#base = base;
    this.#hand = new BackupByHand(agent.runner.socket, 'berth');
  }

  static async make(): Promise<BackupBed> {
    const address = `127.0.0.1:${await freePort()}`;
    const cluster = await Cluster.start({ operators: 0, agentEnv: { BERTH_OPERATORS: address }, log: toStderr });
    const image = await cluster.pushImage('demo:1', await demoImage());
    const name = `berth-operator.${systemNamespace}.svc`;
    const hub = await LateHub.listen(address, await cluster.authority.issue('hub', 'berth-operator', [name]));
    const agent = await Ordering.of(hub, cluster.runner('runner-1'), image);
    return new BackupBed(cluster, hub, agent, await baseOf(`${cluster.registry.url}/v2/demo`));
  }

  get agentPid(): number {
    return this.#agent.runner.agent.pid;
  }

  /** A script that makes so many files of 1 KiB, a thousand in a directory. */
  manyFiles(count: number): string {
    const files = 'j=0; while [ $j -lt 1000 ]; do echo "$line $i $j" > $j; j=$((j+1)); done';
    return [
      `line=$(head -c 768 /dev/urandom | base64 -w 0)`,
      `i=0; while [ $i -lt ${count / 1000} ]; do mkdir -p /many/$i; cd /many/$i; ${files}; i=$((i+1)); done; cd /`,
    ].join('; ');
  }

  /** A stopped sandbox in which the script has run; its uid. */
  async sandbox(script: string): Promise<string> {
    const uid = randomUUID();
    this.#agent.start(uid, this.#order, 1, { config: this.#agent.config(`${script}; touch /ready`) });
    await this.#agent.told(uid, CopyState.COPY_STATE_RUNNING, this.#order);
    await eventually('its files are written', async () =>
      (await inside(this.#agent.runner, uid, 'ls', '/')).includes('ready') ? true : undefined,
    );
    this.#order += 1;
    this.#agent.stop(uid, this.#order);
    await this.#agent.told(uid, CopyState.COPY_STATE_STOPPED, this.#order);
    return uid;
  }

  /** One small file is another one than before. */
  async touch(uid: string): Promise<void> {
    await inFilesOf(this.#agent.runner, uid, 'head -c 64 /dev/urandom > stamp');
  }

  /** Milliseconds from sending the order until the agent has told that the registry has the backup. */
  async throughAgent(uid: string): Promise<number> {
    [this.#order, this.#backup] = [this.#order + 1, this.#backup + 1];
    const begin = performance.now();
    const done = this.#hub.next(({ uid: of, backup }) => of === uid && backup?.id === this.#backup && backup.digest !== '');
    this.#agent.stop(uid, this.#order, { backup: toBackUp(this.#backup, 1, this.#cluster.image('backups/agent')) });
    await done;
    return performance.now() - begin;
  }

  async byHand(uid: string): Promise<number> {
    const begin = performance.now();
    await this.#hand.run(`${uid}-1`, this.#base, `${this.#cluster.registry.url}/v2/backups/agent`);
    return performance.now() - begin;
  }

  /** How long it is paused for each of some backups while it runs, as the agent measures it. */
  async freeze(uid: string, times: number): Promise<number[]> {
    this.#order += 1;
    this.#agent.start(uid, this.#order, 2);
    await this.#agent.told(uid, CopyState.COPY_STATE_RUNNING, this.#order);
    for (let time = 0; time < times; time += 1) {
      [this.#order, this.#backup] = [this.#order + 1, this.#backup + 1];
      const backup = toBackUp(this.#backup, 2, this.#cluster.image('backups/agent'));
      this.#agent.start(uid, this.#order, 2, { backup });
      await this.#agent.done(uid, this.#backup);
    }
    const lines = this.#agent.runner.agent.log().split('\n');
    const paused = lines.filter((line) => line.includes('was paused for a backup') && line.includes(uid));
    return paused.map((line) => (JSON.parse(line) as { readonly ms: number }).ms);
  }

  async remove(uid: string): Promise<void> {
    this.#order += 1;
    this.#agent.remove(uid, this.#order);
    await this.#agent.told(uid, CopyState.COPY_STATE_ABSENT, this.#order);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#hand.close();
    this.#hub.close();
    await this.#cluster.stop();
  }
}

/** The demo image's manifest and configuration. */
async function baseOf(repository: string): Promise<Base> {
  const manifest = await json<Base['manifest'] & { readonly config: { readonly digest: string } }>(`${repository}/manifests/1`);
  return { manifest, config: await json<Base['config']>(`${repository}/blobs/${manifest.config.digest}`) };
}

async function json<T>(url: string): Promise<T> {
  const { body } = await request(url, { headers: { accept: 'application/vnd.oci.image.manifest.v1+json' } });
  return (await body.json()) as T;
}
