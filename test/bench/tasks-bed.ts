import { randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toStderr } from '../../hack/progress.ts';
import { Cluster } from '../harness/cluster.ts';
import { demoImage } from '../harness/images.ts';
import { everything, permittedToken } from '../system/caller.ts';
import { eventually } from '../system/eventually.ts';
import { containerOf } from '../system/lying-on.ts';
import { callerOf, withSlots } from './api.ts';
import { BareContainerd, type Outputs, type Template } from './bare.ts';
import type { PlainClient } from './plain-client.ts';

export interface TasksBedOptions {
  readonly etcdFsync: boolean;
  /** Tasks that can run at once. */
  readonly slots: number;
}

interface TaskAnswer {
  readonly id: string;
  readonly phase: string;
  readonly result?: { readonly outcome: string; readonly exitCode: number };
}

const sandbox = { name: 'bench' };
const command = ['true'];

/** One operator pod and one runner with a sandbox that runs, a caller with a token and kept-alive connections, and the same containerd without Berth. */
export class TasksBed implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly #image: string;
  readonly #api: PlainClient;
  readonly #bare: BareContainerd;
  readonly #outputs: string;
  #inSandbox: Template | undefined;
  #alone: Template | undefined;

  private constructor(cluster: Cluster, image: string, api: PlainClient, bare: BareContainerd) {
    this.cluster = cluster;
    this.#image = image;
    this.#api = api;
    this.#bare = bare;
    this.#outputs = join(cluster.runner('runner-1').dataDir, 'bare');
  }

  static async make({ etcdFsync, slots }: TasksBedOptions): Promise<TasksBed> {
    const env = { BERTH_LOG_LEVEL: 'info' };
    const cluster = await Cluster.start({ etcdFsync, operatorEnv: env, agentEnv: env, log: toStderr });
    try {
      const image = await cluster.pushImage('demo:1', await demoImage());
      const api = callerOf(cluster, cluster.operators[0], await permittedToken(cluster, 'bench', everything));
      await withSlots(cluster, api, ['runner-1'], slots);
      const namespace = await startSandbox(cluster, image);
      const bed = new TasksBed(cluster, image, api, new BareContainerd(cluster.runner('runner-1').socket, namespace.namespace));
      await bed.#readTemplates(namespace.id, slots);
      return bed;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** A slot and `true` in the sandbox with it, until its result is answered. */
  async run(): Promise<void> {
    const { body } = await this.#api.ask('POST', '/sandbox/reserve', 201, { sandbox });
    const { id: reservationID } = body as { readonly id: string };
    await this.#finished({ sandbox, command, reservationID });
  }

  /** `true` in the sandbox, by containerd. `place`: no two at once have the same. */
  async runBare(place: number): Promise<void> {
    succeeded(await this.#bare.exec(this.#template(this.#inSandbox), randomUUID(), command, this.#outputsOf(place)));
  }

  /** `true` in a container of its own. */
  async runAlone(): Promise<void> {
    await this.#finished({ image: this.#image, command });
  }

  /** The same by containerd, until its output is complete. Resolves with what removes the container. */
  async runAloneBare(place: number): Promise<() => Promise<void>> {
    const [template, id] = [this.#template(this.#alone), randomUUID()];
    await this.#bare.start(template, id, this.#outputsOf(place));
    succeeded(await this.#bare.ended(id));
    return () => this.#bare.removeEnded(template, id);
  }

  /** Which runtime both sides use. */
  get runtime(): string {
    const { container } = this.#template(this.#inSandbox);
    return Buffer.from(container.runtime?.options?.value ?? []).includes('crun') ? 'crun' : 'runc';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#api.close();
    this.#bare.close();
    await this.cluster.stop();
  }

  async #finished(task: object): Promise<void> {
    const { body } = await this.#api.ask('POST', '/sandbox/tasks', 201, { ...task, waitSeconds: 60 });
    const { phase, result } = body as TaskAnswer;
    if (phase !== 'Ended' || result?.outcome !== 'Exited') throw new Error(`the task did not run: ${JSON.stringify(body)}`);
    succeeded(result.exitCode);
  }

  #template(template: Template | undefined): Template {
    if (template === undefined) throw new Error('the bed is not made');
    return template;
  }

  #outputsOf(place: number): Outputs {
    return { stdout: join(this.#outputs, `${place}.out`), stderr: join(this.#outputs, `${place}.err`) };
  }

  /** What the bare sides repeat: the sandbox's container, and a one-shot's, which goes on so that the next ones join its shim as they join one another's. */
  async #readTemplates(sandboxContainer: string, slots: number): Promise<void> {
    await mkdir(this.#outputs, { recursive: true });
    for (let place = 0; place < slots; place += 1)
      for (const path of Object.values(this.#outputsOf(place)) as readonly string[]) await writeFile(path, '');
    this.#inSandbox = await this.#bare.read(sandboxContainer);
    const limits = { wallSeconds: 86_400 };
    const { body } = await this.#api.ask('POST', '/sandbox/tasks', 201, { image: this.#image, command: ['sleep', '86400'], limits });
    const { id } = body as TaskAnswer;
    await eventually('the one-shot runs', async () => {
      const { body: now } = await this.#api.ask('GET', `/sandbox/tasks/${id}`, 200);
      return (now as TaskAnswer).phase === 'Running' ? true : undefined;
    });
    const { id: container } = await containerOf(this.cluster.runner('runner-1'), id.split('.', 1)[0] ?? '');
    this.#alone = runs(await this.#bare.read(container), command);
  }
}

/** Creates the sandbox and waits until it runs: its container. */
async function startSandbox(cluster: Cluster, image: string): Promise<{ readonly namespace: string; readonly id: string }> {
  const path = '/apis/berth.dev/v1alpha1/namespaces/default/sandboxes';
  const spec = { image, resources: { limits: { cpu: '2', memory: '512Mi', pids: 1024 } } };
  await cluster.api.ok('POST', path, { apiVersion: 'berth.dev/v1alpha1', kind: 'Sandbox', metadata: sandbox, spec });
  const uid = await eventually('the sandbox is started', async () => {
    const { metadata, status } = (await cluster.api.ok('GET', `${path}/${sandbox.name}`)) as unknown as {
      readonly metadata: { readonly uid: string };
      readonly status?: { readonly state?: string };
    };
    return status?.state === 'Started' ? metadata.uid : undefined;
  });
  return containerOf(cluster.runner('runner-1'), uid);
}

/** The same container with another command. */
function runs(template: Template, args: readonly string[]): Template {
  const { spec } = template.container;
  if (spec === undefined) throw new Error('the container has no spec');
  const parsed = JSON.parse(Buffer.from(spec.value).toString()) as { readonly process: object };
  const value = Buffer.from(JSON.stringify({ ...parsed, process: { ...parsed.process, args } }));
  return { ...template, container: { ...template.container, spec: { ...spec, value } } };
}

function succeeded(exitCode: number): void {
  if (exitCode !== 0) throw new Error(`true ended with ${exitCode}`);
}
