import { isDeepStrictEqual } from 'node:util';
import { Agent, request } from 'undici';
import type { Sandbox } from '../../crds/sandbox.ts';
import { readKubeconfig } from '../harness/kubeconfig.ts';
import { eventually } from './eventually.ts';

interface WatchedEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: Sandbox;
}

/** Every change of one sandbox, by a watch that begins before there is one. */
export class StatusWrites {
  readonly #dispatcher: Agent;
  readonly #events: WatchedEvent[] = [];
  readonly #abort = new AbortController();

  private constructor(ca: string) {
    this.#dispatcher = new Agent({ connect: { ca }, bodyTimeout: 0 });
  }

  /** Resolves when the watch is open. Nothing of this name may exist. */
  static async follow(kubeconfig: string, name: string, namespace = 'default'): Promise<StatusWrites> {
    const { server, ca, token } = readKubeconfig(kubeconfig);
    const writes = new StatusWrites(ca);
    const query = new URLSearchParams({ watch: '1', resourceVersion: '0', fieldSelector: `metadata.name=${name}` });
    const { statusCode, body } = await request(`${server}/apis/berth.dev/v1alpha1/namespaces/${namespace}/sandboxes?${query.toString()}`, {
      dispatcher: writes.#dispatcher,
      headers: { authorization: `Bearer ${token}` },
      signal: writes.#abort.signal,
    });
    if (statusCode !== 200) throw new Error(`the watch was answered with ${statusCode}`);
    writes.#read(body).catch((error: unknown) => {
      if (!writes.#abort.signal.aborted) throw error;
    });
    return writes;
  }

  /** The statuses that were written, in order, up to this one: of every change, those in which the status is not the one before. */
  async upTo({ metadata: { resourceVersion } }: Sandbox): Promise<readonly Sandbox['status'][]> {
    const isThere = () =>
      Promise.resolve(this.#events.some(({ object }) => object.metadata.resourceVersion === resourceVersion) || undefined);
    await eventually(`the watch tells of version ${resourceVersion}`, isThere, () => this.#events);
    return this.written();
  }

  /** As `upTo`, of what has been told so far. */
  written(): readonly Sandbox['status'][] {
    return this.#events
      .filter(({ type, object }, index) => type === 'MODIFIED' && !isDeepStrictEqual(object.status, this.#events[index - 1]?.object.status))
      .map(({ object }) => object.status);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#dispatcher.destroy();
  }

  async #read(body: AsyncIterable<Buffer>): Promise<void> {
    let rest = '';
    for await (const chunk of body) {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      this.#events.push(...lines.map((line) => JSON.parse(line) as WatchedEvent));
    }
  }
}
