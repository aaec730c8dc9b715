import { isDeepStrictEqual } from 'node:util';
import { PlainClient, type PlainClientOptions, type Told } from './plain-client.ts';

interface Seen {
  readonly metadata: { readonly name: string; readonly uid: string; readonly resourceVersion: string };
  readonly status?: { readonly state?: string; readonly reason?: string; readonly message?: string };
}

/** What the watch told of one sandbox so far. */
interface Followed {
  statusWrites: number;
  last: Seen;
}

interface Waiter {
  readonly test: (seen: Seen, type: string) => boolean;
  readonly resolve: (at: number) => void;
  readonly reject: (error: Error) => void;
}

/** A benchmark that hangs says so. */
const giveUpMs = 120_000;

/** The Sandboxes of one namespace through a plain client: requests and one watch. */
export class Sandboxes {
  readonly #client: PlainClient;
  readonly #path: string;
  readonly #followed = new Map<string, Followed>();
  readonly #waiters = new Map<string, Set<Waiter>>();

  constructor({ namespace, ...options }: PlainClientOptions & { readonly namespace: string }) {
    this.#client = new PlainClient(options);
    this.#path = `/apis/berth.dev/v1alpha1/namespaces/${namespace}/sandboxes`;
  }

  /** Begins to watch; resolves when the watch is open. */
  async watch(): Promise<void> {
    await this.#client.watch<Seen>(
      this.#path,
      (told) => this.#take(told),
      (error) => this.#fail(error),
    );
  }

  /** Creates a sandbox; resolves with the time of the 201 and the uid. */
  async create(name: string, spec: object): Promise<{ readonly at: number; readonly uid: string }> {
    const object = { apiVersion: 'berth.dev/v1alpha1', kind: 'Sandbox', metadata: { name }, spec };
    const { at, body } = await this.#client.ask('POST', this.#path, 201, object);
    return { at, uid: (body as Seen).metadata.uid };
  }

  /** When the watch told that the sandbox is Started. Ask before `create`. */
  started(name: string): Promise<number> {
    return this.#wait(name, ({ status }) => {
      if (status?.state === 'Error') throw new Error(`${name}: ${status.reason ?? ''} ${status.message ?? ''}`);
      return status?.state === 'Started';
    });
  }

  /** When the watch told of the first status of the sandbox. Ask before `create`. */
  written(name: string): Promise<number> {
    return this.#wait(name, ({ status }) => status?.state !== undefined);
  }

  /** Deletes a sandbox and waits until it is gone. */
  async remove(name: string): Promise<void> {
    const gone = this.#wait(name, (_, type) => type === 'DELETED');
    await this.#client.ask('DELETE', `${this.#path}/${name}`, 200);
    await gone;
    this.#followed.delete(name);
  }

  /** How often the status of this sandbox was written since it was created. */
  statusWrites(name: string): number {
    return this.#followed.get(name)?.statusWrites ?? 0;
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  #wait(name: string, test: Waiter['test']): Promise<number> {
    return new Promise((resolve, reject) => {
      const timeout = setTimeout(() => reject(new Error(`${name}: nothing came of it within ${giveUpMs / 1000} s`)), giveUpMs);
      const settled =
        <T>(settle: (result: T) => void) =>
        (result: T) => {
          clearTimeout(timeout);
          settle(result);
        };
      const waiters = this.#waiters.get(name) ?? new Set();
      this.#waiters.set(name, waiters.add({ test, resolve: settled(resolve), reject: settled(reject) }));
    });
  }

  #take({ type, object, at }: Told<Seen>): void {
    const { name } = object.metadata;
    const known = this.#followed.get(name);
    const written = known !== undefined && type === 'MODIFIED' && !isDeepStrictEqual(known.last.status, object.status);
    this.#followed.set(name, { last: object, statusWrites: (known?.statusWrites ?? 0) + (written ? 1 : 0) });
    const waiters = this.#waiters.get(name) ?? new Set();
    for (const waiter of waiters) {
      try {
        if (!waiter.test(object, type)) continue;
        waiter.resolve(at);
      } catch (error) {
        waiter.reject(error as Error);
      }
      waiters.delete(waiter);
    }
    if (waiters.size === 0) this.#waiters.delete(name);
  }

  #fail(error: Error): void {
    for (const waiters of this.#waiters.values()) for (const waiter of waiters) waiter.reject(error);
    this.#waiters.clear();
  }
}
