const shardCount = 128;

/**
 * A map that is never changed: another one is made, which shares all but a small part with it. A journal's state changes with every record and has
 * the tasks of a quarter of an hour: to copy them all each time would cost more than the tasks.
 */
export class Table<V> implements Iterable<readonly [string, V]> {
  readonly #shards: readonly ReadonlyMap<string, V>[];

  constructor(shards: readonly ReadonlyMap<string, V>[] = Array.from({ length: shardCount }, () => new Map<string, V>())) {
    this.#shards = shards;
  }

  get(key: string): V | undefined {
    return this.#shards[shardOf(key)]?.get(key);
  }

  has(key: string): boolean {
    return this.#shards[shardOf(key)]?.has(key) === true;
  }

  with(key: string, value: V): Table<V> {
    return this.#replaced(key, (shard) => new Map([...shard, [key, value]]));
  }

  without(key: string): Table<V> {
    return this.has(key) ? this.#replaced(key, (shard) => new Map([...shard].filter(([other]) => other !== key))) : this;
  }

  /** In no particular sequence. */
  *values(): Generator<V> {
    for (const shard of this.#shards) yield* shard.values();
  }

  *[Symbol.iterator](): Generator<readonly [string, V]> {
    for (const shard of this.#shards) yield* shard;
  }

  #replaced(key: string, by: (shard: ReadonlyMap<string, V>) => ReadonlyMap<string, V>): Table<V> {
    const index = shardOf(key);
    return new Table(this.#shards.with(index, by(this.#shards[index] ?? new Map<string, V>())));
  }
}

function shardOf(key: string): number {
  const hash = new TextEncoder().encode(key).reduce((sum, byte) => Math.imul(sum ^ byte, 0x01000193), 0x811c9dc5);
  return ((hash ^ (hash >>> 15)) >>> 0) % shardCount;
}
