import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import {
  type Container,
  ContainersClient,
  type GetContainerResponse,
} from '../../agent/containerd/gen/services/containers/v1/containers.ts';
import {
  type PrepareSnapshotResponse,
  SnapshotsClient,
  type StatSnapshotResponse,
} from '../../agent/containerd/gen/services/snapshots/v1/snapshots.ts';
import { commandIn } from '../../agent/containerd/task-runtime.client.ts';
import { packProcess } from '../../agent/containerd/any.ts';
import type { SpecProcess } from '../../agent/security/oci.ts';
import { type GetResponse, TasksClient, type WaitResponse } from '../../agent/containerd/gen/services/tasks/v1/tasks.ts';

/** A container that Berth made, as containerd stores it: what the bare starts repeat. */
export interface Template {
  readonly container: Container;
  /** What its snapshot stands on. */
  readonly parent: string;
  readonly snapshotLabels: Readonly<Record<string, string>>;
  readonly stdout: string;
  readonly stderr: string;
}

/** Where a process writes: absolute paths of files that are there. */
export interface Outputs {
  readonly stdout: string;
  readonly stderr: string;
}

/** containerd without Berth: the four calls of a start, and their undoing; and a command in a container that runs. */
export class BareContainerd {
  readonly #containers: ContainersClient;
  readonly #snapshots: SnapshotsClient;
  readonly #tasks: TasksClient;
  readonly #metadata = new Metadata();

  constructor(socket: string, namespace: string) {
    const options = { 'grpc.default_authority': 'localhost', 'grpc.use_local_subchannel_pool': 1 };
    const address = `unix://${socket}`;
    this.#containers = new ContainersClient(address, credentials.createInsecure(), options);
    this.#snapshots = new SnapshotsClient(address, credentials.createInsecure(), options);
    this.#tasks = new TasksClient(address, credentials.createInsecure(), options);
    this.#metadata.set('containerd-namespace', namespace);
  }

  /** Reads a running container that Berth made. */
  async read(id: string): Promise<Template> {
    const { container } = await this.#call<GetContainerResponse>((done) => this.#containers.get({ id }, this.#metadata, done));
    if (container === undefined) throw new Error(`containerd has no container ${id}`);
    const { snapshotter, snapshotKey: key } = container;
    const { info } = await this.#call<StatSnapshotResponse>((done) => this.#snapshots.stat({ snapshotter, key }, this.#metadata, done));
    const { process } = await this.#call<GetResponse>((done) => this.#tasks.get({ containerId: id, execId: '' }, this.#metadata, done));
    return {
      container,
      parent: info?.parent ?? '',
      snapshotLabels: info?.labels ?? {},
      stdout: process?.stdout ?? '',
      stderr: process?.stderr ?? '',
    };
  }

  /** Prepare, Containers.Create, Tasks.Create and Start of the template under another id, one after another. */
  async start({ container, parent, snapshotLabels, stdout, stderr }: Template, id: string, outputs?: Outputs): Promise<void> {
    const renamed = (text: string) => text.replaceAll(container.id, id);
    const { snapshotter, runtime, spec } = container;
    const labels = Object.fromEntries(Object.entries(container.labels).map(([name, value]) => [`bench.${name}`, renamed(value)]));
    const { mounts } = await this.#call<PrepareSnapshotResponse>((done) =>
      this.#snapshots.prepare({ snapshotter, key: id, parent, labels: snapshotLabels }, this.#metadata, done),
    );
    const copy = {
      ...container,
      id,
      snapshotKey: id,
      labels,
      spec: spec === undefined ? undefined : { ...spec, value: Buffer.from(renamed(Buffer.from(spec.value).toString())) },
    };
    await this.#call((done) => this.#containers.create({ container: copy }, this.#metadata, done));
    const task = {
      containerId: id,
      rootfs: mounts,
      stdin: '',
      ...(outputs ?? { stdout: renamed(stdout), stderr: renamed(stderr) }),
      terminal: false,
      checkpoint: undefined,
      options: runtime?.options,
      runtimePath: '',
      taskApiAddress: '',
      taskApiVersion: 0,
    };
    await this.#call((done) => this.#tasks.create(task, this.#metadata, done));
    await this.#call((done) => this.#tasks.start({ containerId: id, execId: '' }, this.#metadata, done));
  }

  /** Kills and removes what `start` made, as far as it got. */
  async remove({ container: { snapshotter } }: Template, id: string): Promise<void> {
    const exited = this.#call((done) => this.#tasks.wait({ containerId: id, execId: '' }, this.#metadata, done));
    await this.#call((done) => this.#tasks.kill({ containerId: id, execId: '', signal: 9, all: true }, this.#metadata, done));
    await exited;
    await this.#call((done) => this.#tasks.delete({ containerId: id }, this.#metadata, done));
    await this.#call((done) => this.#containers.delete({ id }, this.#metadata, done));
    await this.#call((done) => this.#snapshots.remove({ snapshotter, key: id }, this.#metadata, done));
  }

  /** Waits for the end of what `start` started and removes its task: its exit code. The container and its snapshot stay, for `removeEnded`. */
  async ended(containerId: string): Promise<number> {
    const { exitStatus } = await this.#wait({ containerId, execId: '' });
    await this.#call((done) => this.#tasks.delete({ containerId }, this.#metadata, done));
    return exitStatus;
  }

  async removeEnded({ container: { snapshotter } }: Template, id: string): Promise<void> {
    await this.#call((done) => this.#containers.delete({ id }, this.#metadata, done));
    await this.#call((done) => this.#snapshots.remove({ snapshotter, key: id }, this.#metadata, done));
  }

  /** Exec, Start, Wait and DeleteProcess of a command in the container of a template, one after another: its exit code. */
  async exec({ container }: Template, execId: string, args: readonly string[], outputs: Outputs): Promise<number> {
    const { process } = JSON.parse(Buffer.from(container.spec?.value ?? []).toString()) as { readonly process: SpecProcess };
    const spec = packProcess(commandIn(process, { args, env: [], workingDir: '', contentVersion: 0 }));
    const of = { containerId: container.id, execId };
    await this.#call((done) => this.#tasks.exec({ ...of, stdin: '', ...outputs, terminal: false, spec }, this.#metadata, done));
    await this.#call((done) => this.#tasks.start(of, this.#metadata, done));
    const { exitStatus } = await this.#wait(of);
    await this.#call((done) => this.#tasks.deleteProcess(of, this.#metadata, done));
    return exitStatus;
  }

  #wait(of: { readonly containerId: string; readonly execId: string }): Promise<WaitResponse> {
    return this.#call<WaitResponse>((done) => this.#tasks.wait(of, this.#metadata, done));
  }

  close(): void {
    for (const client of [this.#containers, this.#snapshots, this.#tasks]) client.close();
  }

  #call<Reply>(call: (done: (error: ServiceError | null, reply: Reply) => void) => unknown): Promise<Reply> {
    return new Promise((resolve, reject) => {
      call((error, reply) => {
        if (error === null) resolve(reply);
        else reject(error);
      });
    });
  }
}
