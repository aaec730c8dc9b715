import type { TaskSlots } from '../hub/facts.ts';

/** A runner, as far as it matters for who gets a slot there. */
export interface SlotView {
  readonly runnerName: string;
  readonly slots: TaskSlots;
  /** Slots that this pod has asked for there and that the numbers above do not show yet. */
  readonly assumed: number;
}

export function freeOf({ slots: { slots, used, reserved }, assumed }: SlotView): number {
  return Math.max(0, slots - used - reserved - assumed);
}

/** So many runners are compared: more spread worse when news come late (every pod sends to the same few), fewer worse when they do not. */
const sample = 5;

/**
 * Runners on which a slot seems to be free, the best first: of a few that `tieOf` draws, the one that is taken the least for its size; then the others. Of a few and
 * not of all, because every pod sees the same and a little late: all of them would send the next requests to the one runner that is behind.
 */
export function rankFree(runners: readonly SlotView[], tieOf: (runnerName: string) => number): readonly string[] {
  const free = runners
    .filter((runner) => freeOf(runner) > 0 && runner.slots.queued === 0)
    .map((runner) => ({ runner, tie: tieOf(runner.runnerName) }))
    .toSorted((one, other) => one.tie - other.tie)
    .map(({ runner }) => runner);
  const shareOf = ({ slots: { slots, used, reserved }, assumed }: SlotView) => (used + reserved + assumed + 1) / slots;
  return [free.slice(0, sample), free.slice(sample)].flatMap((some) => ranked(some, shareOf, tieOf));
}

/** Where a request waits: the runners with the shortest queue for their size, at most so many. */
export function rankQueues(runners: readonly SlotView[], most: number, tieOf: (runnerName: string) => number): readonly string[] {
  const open = runners.filter(({ slots }) => slots.slots > 0);
  return ranked(open, ({ slots: { slots, queued }, assumed }) => (queued + assumed) / slots, tieOf).slice(0, most);
}

function ranked(
  runners: readonly SlotView[],
  shareOf: (runner: SlotView) => number,
  tieOf: (runnerName: string) => number,
): readonly string[] {
  return runners
    .map((runner) => ({ name: runner.runnerName, share: shareOf(runner), tie: tieOf(runner.runnerName) }))
    .toSorted((one, other) => one.share - other.share || one.tie - other.tie || (one.name < other.name ? -1 : 1))
    .map(({ name }) => name);
}

/** A number in [0, 1) that depends on the words alone: in no order that two requests share. */
export function tieBreaker(seed: string): (runnerName: string) => number {
  return (runnerName) => mixed(`${seed}/${runnerName}`) / 2 ** 32;
}

/** FNV-1a, with the last step of murmur3 so that words that end alike do not lie together. */
function mixed(text: string): number {
  const sum = new TextEncoder().encode(text).reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), 0x811c9dc5);
  const once = Math.imul(sum ^ (sum >>> 16), 0x85ebca6b);
  const twice = Math.imul(once ^ (once >>> 13), 0xc2b2ae35);
  return (twice ^ (twice >>> 16)) >>> 0;
}
