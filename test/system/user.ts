import { execa } from 'execa';
import { type Runner, runnerStatusSchema } from '../../crds/runner.ts';
import { type Sandbox, type SandboxManifest, sandboxStatusSchema } from '../../crds/sandbox.ts';
import { API_GROUP_VERSION, type SandboxState } from '../../crds/names.ts';
import type { KubeApi } from '../harness/kube-api.ts';
import { eventually } from './eventually.ts';

/** What kubectl did. */
export interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SandboxRef {
  readonly name: string;
  readonly namespace?: string | undefined;
}

/** An Event as `kubectl get events` shows it. */
export interface SeenEvent {
  readonly type: string;
  readonly reason: string;
  readonly note: string;
  readonly regarding: { readonly kind: string; readonly name: string; readonly uid: string };
}

/**
 * Somebody with kubectl and a kubeconfig: everything that these tests do to sandboxes and learn of them goes through here.
 * What is looked at again and again is read without kubectl, of which every call takes a third of a second of processor time.
 */
export class User {
  /** Path of the program. */
  readonly program: string;
  readonly kubeconfig: string;
  readonly #api: KubeApi;

  constructor({ kubectl, kubeconfig, api }: { readonly kubectl: string; readonly kubeconfig: string; readonly api: KubeApi }) {
    this.program = kubectl;
    this.kubeconfig = kubeconfig;
    this.#api = api;
  }

  /** Runs kubectl, whatever comes of it. */
  async try(args: readonly string[], input?: string): Promise<Outcome> {
    const { exitCode, stdout, stderr } = await execa(this.program, args, {
      env: { KUBECONFIG: this.kubeconfig },
      reject: false,
      ...(input === undefined ? { stdin: 'ignore' } : { input }),
    });
    return { exitCode: exitCode ?? -1, stdout, stderr };
  }

  /** Runs kubectl, which must succeed; returns what it printed. */
  async kubectl(...args: readonly string[]): Promise<string> {
    return this.#must(args);
  }

  /** `kubectl apply` of objects. */
  async apply(...objects: readonly object[]): Promise<string> {
    return this.#must(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
  }

  /** `kubectl create` of one object, as the API server answered it. */
  async create(manifest: SandboxManifest): Promise<Sandbox> {
    return sandboxOf(JSON.parse(await this.#must(['create', '-o', 'json', '-f', '-'], JSON.stringify(manifest))) as object);
  }

  /** Creates many in one call of kubectl. */
  async createAll(objects: readonly object[]): Promise<void> {
    await this.#must(['create', '-f', '-', '-o', 'name'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
  }

  /** Merge-patches the spec of a sandbox. */
  async patch(ref: SandboxRef, spec: object): Promise<void> {
    await this.#must(['patch', 'sandbox', ref.name, ...inNamespace(ref), '--type=merge', '-p', JSON.stringify({ spec })]);
  }

  /** Merge-patches the spec of a runner. */
  async patchRunner(name: string, spec: object): Promise<void> {
    await this.#must(['patch', 'runner', name, '--type=merge', '-p', JSON.stringify({ spec })]);
  }

  /** Deletes sandboxes and waits until they are gone. */
  async delete(...refs: readonly SandboxRef[]): Promise<void> {
    await Promise.all(
      refs.map((ref) => this.#must(['delete', 'sandbox', ref.name, ...inNamespace(ref), '--ignore-not-found', '--timeout=180s'])),
    );
  }

  async find({ name, namespace = 'default' }: SandboxRef): Promise<Sandbox | undefined> {
    const read = await this.#read(`/apis/${API_GROUP_VERSION}/namespaces/${namespace}/sandboxes/${name}`);
    return read === undefined ? undefined : sandboxOf(read);
  }

  async sandbox(ref: SandboxRef): Promise<Sandbox> {
    const found = await this.find(ref);
    if (found === undefined) throw new Error(`there is no sandbox ${ref.name}`);
    return found;
  }

  async runner(name: string): Promise<Runner> {
    const found = await this.findRunner(name);
    if (found === undefined) throw new Error(`there is no runner ${name}`);
    return found;
  }

  async findRunner(name: string): Promise<Runner | undefined> {
    const read = await this.#read(`/apis/${API_GROUP_VERSION}/runners/${name}`);
    return read === undefined ? undefined : runnerOf(read);
  }

  /** The Events about an object, oldest first. They are written beside the work and may come after what they tell of: see `told`. */
  async events({ metadata }: Pick<Sandbox, 'metadata'>): Promise<readonly SeenEvent[]> {
    const read = await this.#read(`/apis/events.k8s.io/v1/namespaces/${metadata.namespace}/events`);
    const { items } = read as unknown as { readonly items: readonly (SeenEvent & Pick<Sandbox, 'metadata'>)[] };
    const created = (event: Pick<Sandbox, 'metadata'>) => event.metadata.creationTimestamp;
    return items
      .filter(({ regarding }) => regarding.uid === metadata.uid)
      .toSorted((one, other) => created(one).localeCompare(created(other)));
  }

  /** The Events about an object once one of each reason is among them. */
  async told(object: Pick<Sandbox, 'metadata'>, ...reasons: readonly string[]): Promise<readonly SeenEvent[]> {
    const last: { seen: readonly SeenEvent[] } = { seen: [] };
    return eventually(
      `${object.metadata.name} has Events ${reasons.join(', ')}`,
      async () => {
        last.seen = await this.events(object);
        return reasons.every((reason) => last.seen.some((event) => event.reason === reason)) ? last.seen : undefined;
      },
      () => last.seen,
    );
  }

  /** The sandbox once it is as asked. */
  async until(ref: SandboxRef, what: string, test: (sandbox: Sandbox) => boolean): Promise<Sandbox> {
    const last: { seen?: Sandbox['status'] | undefined } = {};
    return eventually(
      `sandbox ${ref.name} ${what}`,
      async () => {
        const sandbox = await this.find(ref);
        last.seen = sandbox?.status;
        return sandbox !== undefined && test(sandbox) ? sandbox : undefined;
      },
      () => last.seen,
    );
  }

  /** The sandbox once it is in the state, and the status answers the spec as it is now. */
  async untilState(ref: SandboxRef, state: SandboxState): Promise<Sandbox> {
    return this.until(ref, `is ${state}`, (sandbox) => stateOf(sandbox) === state && isObserved(sandbox));
  }

  /** An object or a list; undefined where there is none. */
  async #read(path: string): Promise<object | undefined> {
    const { status, body } = await this.#api.call('GET', path);
    if (status === 404) return undefined;
    if (status >= 300) throw new Error(`GET ${path}: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  async #must(args: readonly string[], input?: string): Promise<string> {
    const { exitCode, stdout, stderr } = await this.try(args, input);
    if (exitCode !== 0) throw new Error(`kubectl ${args.join(' ')} ended with ${exitCode}: ${stderr}`);
    return stdout;
  }
}

/** An object as the API server sent it: nobody may have written a status of it yet. */
function sandboxOf(read: object): Sandbox {
  const sandbox = read as Omit<Sandbox, 'status'> & { readonly status?: unknown };
  return { ...sandbox, status: sandboxStatusSchema.parse(sandbox.status ?? {}) };
}

function runnerOf(read: object): Runner {
  const runner = read as Omit<Runner, 'status'> & { readonly status?: unknown };
  return { ...runner, status: runnerStatusSchema.parse(runner.status ?? {}) };
}

/** The state; undefined while the operator has written none. */
export function stateOf({ status }: Pick<Sandbox, 'status'>): SandboxState | undefined {
  return status.observedGeneration === undefined ? undefined : status.state;
}

/** Whether the status answers the spec as it is. */
export function isObserved({ status, metadata }: Pick<Sandbox, 'status' | 'metadata'>): boolean {
  return status.observedGeneration === metadata.generation;
}

function inNamespace({ namespace }: SandboxRef): readonly string[] {
  return namespace === undefined ? [] : ['-n', namespace];
}
