import { readFileSync } from 'node:fs';
import { request } from 'undici';
import type { Cluster } from '../harness/cluster.ts';

/** In one transaction, whose request must stay below etcd's limit of 1.5 MiB. */
const atOnce = 100;

/**
 * etcd itself, to put a large fleet there as restoring a backup would: thousands of objects in seconds. The objects are those that the API
 * server stored for one like them.
 */
export class Etcd {
  readonly #url: string;

  constructor(cluster: Pick<Cluster, 'etcd'>) {
    const options = readFileSync(`/proc/${cluster.etcd.pid}/cmdline`, 'utf8').split('\0');
    this.#url = options.find((option) => option.startsWith('--advertise-client-urls='))?.split('=')[1] ?? '';
  }

  /** An object as the API server has stored it. */
  async get(key: string): Promise<unknown> {
    const { kvs = [] } = (await this.#ask('/v3/kv/range', { key: encode(key) })) as { kvs?: { value: string }[] };
    const [found] = kvs;
    if (found === undefined) throw new Error(`etcd has nothing under ${key}`);
    return JSON.parse(Buffer.from(found.value, 'base64').toString()) as unknown;
  }

  async put(objects: readonly (readonly [key: string, object: object])[]): Promise<void> {
    for (let from = 0; from < objects.length; from += atOnce) {
      const puts = objects
        .slice(from, from + atOnce)
        .map(([key, object]) => ({ request_put: { key: encode(key), value: encode(JSON.stringify(object)) } }));
      await this.#ask('/v3/kv/txn', { success: puts });
    }
  }

  async #ask(path: string, content: object): Promise<unknown> {
    const { statusCode, body } = await request(`${this.#url}${path}`, { method: 'POST', body: JSON.stringify(content) });
    const text = await body.text();
    if (statusCode !== 200) throw new Error(`etcd ${path}: ${statusCode} ${text}`);
    return JSON.parse(text) as unknown;
  }
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64');
}
