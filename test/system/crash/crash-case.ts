import { expect } from '@jest/globals';
import type { Sandbox } from '../../../crds/sandbox.ts';
import { CrashablePart } from '../../harness/crash.ts';
import { added, livingOn } from '../../harness/leftovers.ts';
import type { Part } from '../../harness/part.ts';
import { eventually } from '../eventually.ts';
import { lyingOn } from '../lying-on.ts';
import { writtenBy } from '../on-disk.ts';
import type { World } from '../world.ts';
import type { Transition } from './transitions.ts';

/** `restart`, or `restart:2` for the second time that the failpoint is reached in it. */
export type Occasion<Name extends string> = Name | `${Name}:${number}`;

/** One row for each occasion of each failpoint, named by its sentence. */
export function rowsOf<Name extends string>(cases: Readonly<Record<string, readonly Occasion<Name>[]>>) {
  return Object.entries(cases).flatMap(([failpoint, occasions]) =>
    occasions.map((occasion) => {
      const [transition = '', nth = '1'] = occasion.split(':');
      return { failpoint, transition: transition as Name, nth: Number(nth) };
    }),
  );
}

/** A part of a world that dies at its failpoints, and what was on the runners before. */
export class CrashTest {
  readonly world: World;
  readonly #crashable: CrashablePart;
  readonly #before: ReadonlyMap<string, readonly string[]>;
  #cases = 0;

  private constructor(world: World, crashable: CrashablePart, before: ReadonlyMap<string, readonly string[]>) {
    this.world = world;
    this.#crashable = crashable;
    this.#before = before;
  }

  /** Starts the part again so that it can be armed. The world's cluster must have failpoints. */
  static async of(world: World, part: Part): Promise<CrashTest> {
    const crashable = new CrashablePart(part, world.cluster.stateDir);
    await part.restart();
    await world.connected();
    const before = await Promise.all(world.cluster.runners.map(async (runner) => [runner.name, await livingOn(runner)] as const));
    return new CrashTest(world, crashable, new Map(before));
  }

  /** The part dies in the transition and is started again: the transition is done, once, and after a deletion nothing is left. */
  async run(transition: Transition, failpoint: string, nth: number): Promise<void> {
    this.#cases += 1;
    const ref = { name: `crash-${this.#cases}` };
    const { world } = this;
    try {
      await transition.prepare(world, ref);
      this.#crashable.arm(failpoint, nth);
      await transition.ask(world, ref);
      await this.#crashable.died();
      await this.#crashable.part.start();
      const sandbox = await transition.done(world, ref);
      if (sandbox !== undefined) await this.#isWhole(transition, failpoint, sandbox);
      await world.user.delete(ref);
    } catch (error) {
      // The next case begins with nothing.
      this.#crashable.disarm();
      await this.#crashable.part.ensure();
      await transition.after?.(world);
      await world.user.delete(ref);
      throw error;
    }
    await transition.after?.(world);
    await this.#nothingIsLeft();
  }

  async #isWhole({ boots }: Transition, failpoint: string, sandbox: Sandbox): Promise<void> {
    const { world } = this;
    const { uid } = sandbox.metadata;
    const runner = world.runnerOf(sandbox);
    const written = await eventually('the main program has begun', async () => {
      const lines = await writtenBy(runner, uid, 'data/boots');
      return lines.length >= boots ? lines : undefined;
    });
    expect(written).toHaveLength(boots);
    expect(sandbox.status.contentVersion).toBe(boots + lostStarts(failpoint, sandbox));
    const copies = await Promise.all(world.cluster.runners.map(({ name }) => lyingOn(world.cluster.runner(name), uid)));
    expect(copies.flatMap(({ containers }) => containers)).toHaveLength(1);
  }

  async #nothingIsLeft(): Promise<void> {
    for (const runner of this.world.cluster.runners) {
      const last: { left: readonly string[] } = { left: [] };
      const look = async () => {
        last.left = added(this.#before.get(runner.name) ?? [], await livingOn(runner));
        return last.left.length === 0 ? true : undefined;
      };
      await eventually(`nothing is left on ${runner.name}`, look, () => last.left);
    }
  }
}

/**
 * A start is recorded while its task is still being made. Where the agent dies with that record on disk and containerd drops the task with it, nobody can
 * tell that it was never asked for: it counts as one that may have run and ended unseen, once, and is told as that.
 */
function lostStarts(failpoint: string, { status }: Sandbox): number {
  const { exitReason, restartCount } = status;
  return failpoint.startsWith('journal.') && exitReason === 'Lost' && restartCount === 1 ? 1 : 0;
}
