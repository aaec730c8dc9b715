import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { silentLogger } from '../../process/log.ts';
import type { ContainerdConnection, Method } from './connection.client.ts';
import { ContainerdError, status } from './containerd-error.ts';
import { StoreCreateRequest, StoreService } from './gen/services/sandbox/v1/sandbox.ts';
import { ShimGroups, type ShimPlace } from './shim-groups.client.ts';

/** containerd as far as shims go: a task joins the shim of a live task that the sandbox store names, or gets one of its own. */
class ModelledShims {
  readonly records = new Set<string>();
  /** Shim of each live task. */
  readonly tasks = new Map<string, number>();
  /** Turns of the event loop that a call takes. */
  latency = 1;
  mostMembers = 0;
  #shims = 0;

  readonly connection: Pick<ContainerdConnection, 'call'> = {
    call: async <Req, Res>(method: Method<Req, Res>, request: Req): Promise<Res> => {
      await this.#pass();
      return this.#answer(method.path, request) as Res;
    },
  };

  async create(id: string, { sandbox }: ShimPlace): Promise<string> {
    await this.#pass();
    const joined = sandbox === '' ? undefined : this.#joined(sandbox);
    await this.#pass();
    this.tasks.set(id, joined ?? (this.#shims += 1));
    const members = [...this.tasks.values()].filter((shim) => shim === this.tasks.get(id)).length;
    this.mostMembers = Math.max(this.mostMembers, members);
    return id;
  }

  async delete(id: string): Promise<void> {
    await this.#pass();
    this.tasks.delete(id);
  }

  kill(shim: number): void {
    for (const [id, of] of this.tasks) if (of === shim) this.tasks.delete(id);
  }

  get shims(): number {
    return new Set(this.tasks.values()).size;
  }

  #joined(sandbox: string): number {
    const shim = this.tasks.get(sandbox);
    if (!this.records.has(sandbox) || shim === undefined)
      throw new ContainerdError('Create', status.notFound, `can't find shim for sandbox ${sandbox}: not found`);
    return shim;
  }

  #answer(path: string, request: unknown): unknown {
    if (path === StoreService.list.path) return { list: [...this.records].map((sandboxId) => ({ sandboxId })) };
    if (path === StoreService.create.path) {
      this.records.add((request as StoreCreateRequest).sandbox?.sandboxId ?? '');
      return {};
    }
    const { sandboxId } = request as { readonly sandboxId: string };
    if (!this.records.delete(sandboxId)) throw new ContainerdError('Delete', status.notFound, 'not found');
    return {};
  }

  async #pass(): Promise<void> {
    for (let turns = 0; turns < this.latency; turns += 1) await turn();
  }
}

const groupsOf = (model: ModelledShims, size: number) => new ShimGroups({ connection: model.connection, size, logger: silentLogger });
const join = (groups: ShimGroups, model: ModelledShims, id: string) => groups.join(id, (place) => model.create(id, place));
const leave = (groups: ShimGroups, model: ModelledShims, id: string) => groups.leave(id, () => model.delete(id));

describe('ShimGroups', () => {
  it('fills one shim after the other', async () => {
    const model = new ModelledShims();
    const shared = groupsOf(model, 3);
    for (const id of ['a', 'b', 'c', 'd']) {
      await join(shared, model, id);
      await shared.settled();
    }
    expect([...model.tasks]).toEqual([
      ['a', 1],
      ['b', 1],
      ['c', 1],
      ['d', 2],
    ]);
    await join(groupsOf(model, 1), model, 'single');
    expect(model.shims).toBe(3);
  });

  it('goes on when the founder leaves', async () => {
    const model = new ModelledShims();
    const groups = groupsOf(model, 3);
    for (const id of ['a', 'b']) {
      await join(groups, model, id);
      await groups.settled();
    }
    await leave(groups, model, 'a');
    await groups.settled();
    expect(model.records).toEqual(new Set(['b']));
    await join(groups, model, 'c');
    expect(model.shims).toBe(1);
  });

  it('keeps the founder until those that are joining it are there', async () => {
    const model = new ModelledShims();
    const groups = groupsOf(model, 3);
    await join(groups, model, 'a');
    await groups.settled();
    await Promise.all([join(groups, model, 'b'), leave(groups, model, 'a')]);
    expect([...model.tasks]).toEqual([['b', 1]]);
  });

  it('makes a shim of its own when the one to join is gone', async () => {
    const model = new ModelledShims();
    const groups = groupsOf(model, 3);
    await join(groups, model, 'a');
    await groups.settled();
    model.kill(1);
    await expect(join(groups, model, 'b')).resolves.toBe('b');
    expect([...model.tasks]).toEqual([['b', 2]]);
    await leave(groups, model, 'a');
    await groups.settled();
    expect(model.records).toEqual(new Set(['b']));
  });

  it('passes on a failure that is not about the shim, and forgets the place', async () => {
    const model = new ModelledShims();
    const groups = groupsOf(model, 2);
    await expect(groups.join('a', () => Promise.reject(new Error('no such command')))).rejects.toThrow('no such command');
    await join(groups, model, 'b');
    await groups.settled();
    await expect(groups.join('c', () => Promise.reject(new Error('no such command')))).rejects.toThrow('no such command');
    await join(groups, model, 'd');
    expect(model.shims).toBe(1);
  });

  it('takes over what runs, and forgets records of what does not', async () => {
    const model = new ModelledShims();
    for (const [id, shim] of [
      ['a', 1],
      ['b', 1],
      ['c', 2],
    ] as const)
      model.tasks.set(id, shim);
    for (const id of ['b', 'stale']) model.records.add(id);
    const groups = groupsOf(model, 3);
    await groups.restore([
      { id: 'a', group: 'a' },
      { id: 'b', group: 'a' },
      { id: 'c', group: 'c' },
    ]);
    await groups.settled();
    expect(model.records).toEqual(new Set(['b', 'c']));
  });

  it('whatever comes and goes at once: no start fails, no shim has too many, nothing is left', async () => {
    const operation = fc.record({ id: fc.integer({ min: 0, max: 5 }), pause: fc.integer({ min: 0, max: 4 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 40 }), fc.integer({ min: 2, max: 4 }), async (operations, size) => {
        const model = new ModelledShims();
        const groups = groupsOf(model, size);
        const last = new Map<string, Promise<unknown>>();
        const present = new Set<string>();
        for (const { id, pause } of operations) {
          const name = `c${id}`;
          // As copies are: one thing at a time for each.
          const isThere = present.delete(name);
          if (!isThere) present.add(name);
          const work = () => (isThere ? leave(groups, model, name) : join(groups, model, name).then(() => undefined));
          last.set(name, (last.get(name) ?? Promise.resolve()).then(work));
          for (let turns = 0; turns < pause; turns += 1) await turn();
        }
        await Promise.all(last.values());
        await Promise.all([...present].map((name) => leave(groups, model, name)));
        await groups.settled();
        expect(model.mostMembers).toBeLessThanOrEqual(size);
        expect(model.tasks.size).toBe(0);
        expect(model.records.size).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});
