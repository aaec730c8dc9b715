import { messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { failpoint } from '../failpoints.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { ContainerdError, isAlreadyExists, isNotFound } from './containerd-error.ts';
import { Sandbox } from './gen/types/sandbox.ts';
import { isShimGone } from './runtime-errors.ts';
import { chooseAnchor, chooseGroup, restoreGroups, type ShimGroup } from './shim-groups.ts';
import { StoreService } from './gen/services/sandbox/v1/sandbox.ts';

/** Name of containerd's runtime: the shim for runc and everything that is called like it. */
export const shimRuntime = 'io.containerd.runc.v2';

/** Where a container goes: `sandbox` is what its record names to join, empty for a shim of its own. */
export interface ShimPlace {
  readonly group: string;
  readonly sandbox: string;
}

export interface ShimGroupsOptions {
  readonly connection: Pick<ContainerdConnection, 'call'>;
  /** How many copies share a shim; 1: none do. */
  readonly size: number;
  readonly logger: Logger;
}

/**
 * Which copies share a shim. A container joins the shim of any live task whose id is in containerd's sandbox store: the group's anchor.
 * The record is written after the founder's task is there and moved to another member before the anchor's task is deleted, so neither
 * costs a start anything.
 */
export class ShimGroups {
  readonly #options: ShimGroupsOptions;
  readonly #groups = new Map<string, ShimGroup>();
  readonly #leaving = new Set<string>();
  readonly #joins = new Map<string, Set<Promise<unknown>>>();
  readonly #background = new Set<Promise<void>>();

  constructor(options: ShimGroupsOptions) {
    this.#options = options;
  }

  /** Takes over the groups of the tasks that are there, and removes what containerd's sandbox store has besides. */
  async restore(members: readonly { readonly id: string; readonly group: string }[]): Promise<void> {
    const { connection } = this.#options;
    const { list } = await connection.call(StoreService.list, { filters: [] });
    const records = new Set(list.map((sandbox) => sandbox.sandboxId));
    const groups = restoreGroups(members, records);
    this.#groups.clear();
    for (const group of groups) this.#groups.set(group.id, group);
    const anchors = new Set(groups.map((group) => group.anchor));
    await Promise.all([...records].filter((id) => !anchors.has(id)).map((id) => this.#deleteRecord(id)));
    for (const group of groups) if (group.anchor === '') this.#promote(group.id);
  }

  /** Runs `create` for a new task at the place where it belongs; once more in a shim of its own when the chosen one turns out to be gone. */
  async join<T>(id: string, create: (place: ShimPlace) => Promise<T>): Promise<T> {
    if (this.#options.size <= 1) return create({ group: '', sandbox: '' });
    const group = chooseGroup([...this.#groups.values()], this.#options.size);
    if (group === undefined) return this.#found(id, create);
    try {
      return await this.#enter(group, id, () => create({ group: group.id, sandbox: group.anchor }));
    } catch (error) {
      if (!(error instanceof ContainerdError) || !isShimGone(error.said)) throw error;
      this.#options.logger.warn({ group: group.id, said: error.said }, 'The shim of a group is gone');
      this.#dissolve(group.id);
      this.#inBackground(this.#deleteRecord(group.anchor));
      return this.#found(id, create);
    }
  }

  /** Runs `deleteTask` when nobody depends on this member any more. */
  async leave(id: string, deleteTask: () => Promise<void>): Promise<void> {
    const group = [...this.#groups.values()].find((candidate) => candidate.members.includes(id));
    if (group === undefined) return deleteTask();
    this.#leaving.add(id);
    const wasAnchor = group.anchor === id;
    if (wasAnchor) this.#update(group.id, () => ({ anchor: '' }));
    try {
      if (wasAnchor) await Promise.allSettled([...(this.#joins.get(group.id) ?? [])]);
      await deleteTask();
      this.#update(group.id, ({ members }) => ({ members: members.filter((member) => member !== id) }));
    } finally {
      this.#leaving.delete(id);
      if (wasAnchor) this.#inBackground(this.#deleteRecord(id));
      this.#promote(group.id);
    }
  }

  /** Resolves when nothing is under way in the background. */
  async settled(): Promise<void> {
    while (this.#background.size > 0) await Promise.all([...this.#background]);
  }

  async #found<T>(id: string, create: (place: ShimPlace) => Promise<T>): Promise<T> {
    const founded: ShimGroup = { id, members: [], joining: [], anchor: '' };
    // A copy that founded a group before may come back while the others are still in it: that group keeps its name.
    const name = this.#groups.has(id) ? `${id}.${this.#groups.size}` : id;
    this.#groups.set(name, { ...founded, id: name });
    const result = await this.#enter({ ...founded, id: name }, id, () => create({ group: name, sandbox: '' }));
    this.#promote(name);
    return result;
  }

  async #enter<T>(group: ShimGroup, id: string, create: () => Promise<T>): Promise<T> {
    this.#update(group.id, ({ joining }) => ({ joining: [...joining, id] }));
    const joins = this.#joins.get(group.id) ?? new Set();
    this.#joins.set(group.id, joins);
    const join = create();
    joins.add(join);
    try {
      const result = await join;
      this.#update(group.id, ({ members }) => ({ members: [...members.filter((member) => member !== id), id] }));
      return result;
    } finally {
      joins.delete(join);
      this.#update(group.id, ({ joining }) => ({ joining: joining.filter((other) => other !== id) }));
    }
  }

  #update(id: string, change: (group: ShimGroup) => Partial<ShimGroup>): void {
    const group = this.#groups.get(id);
    if (group === undefined) return;
    const changed = { ...group, ...change(group) };
    if (changed.members.length + changed.joining.length > 0) {
      this.#groups.set(id, changed);
      return;
    }
    this.#dissolve(id);
    if (changed.anchor !== '') this.#inBackground(this.#deleteRecord(changed.anchor));
  }

  #dissolve(id: string): void {
    this.#groups.delete(id);
    this.#joins.delete(id);
  }

  /** Gives the group an anchor when it has none, beside whatever goes on. */
  #promote(id: string): void {
    const group = this.#groups.get(id);
    const anchor = group?.anchor === '' ? chooseAnchor(group, this.#leaving) : undefined;
    if (anchor === undefined) return;
    this.#inBackground(this.#writeRecord(anchor).then(() => this.#anchored(id, anchor)));
  }

  async #anchored(id: string, anchor: string): Promise<void> {
    const group = this.#groups.get(id);
    const stays = group?.members.includes(anchor) === true && !this.#leaving.has(anchor);
    if (stays && (group.anchor === '' || group.anchor === anchor)) this.#update(id, () => ({ anchor }));
    else await this.#deleteRecord(anchor);
  }

  async #writeRecord(id: string): Promise<void> {
    const { connection } = this.#options;
    const sandbox = Sandbox.fromPartial({ sandboxId: id, runtime: { name: shimRuntime } });
    try {
      await connection.call(StoreService.create, { sandbox });
      FAILPOINT: failpoint('group.opened');
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
    }
  }

  async #deleteRecord(id: string): Promise<void> {
    const { connection } = this.#options;
    try {
      await connection.call(StoreService.delete, { sandboxId: id });
      FAILPOINT: failpoint('group.closed');
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** Without an anchor a group only takes no more members, so that a failure here costs memory and nothing else. */
  #inBackground(work: Promise<void>): void {
    const quiet = work
      .catch((error: unknown) =>
        this.#options.logger.warn({ said: messageOf(error) }, 'A shim group could not be opened or closed for others'),
      )
      .finally(() => this.#background.delete(quiet));
    this.#background.add(quiet);
  }
}
