import type { ResourceAmounts, SandboxSpec } from '../../crds/index.ts';
import { add } from '../../crds/resources.ts';
import { dominantShare, lacking, type ResourceName } from './amounts.ts';
import { freeOf, takenOf, type AgentView, type RunnerView } from './runner-view.ts';

/** What is to be placed. */
export interface PlacementRequest {
  readonly uid: string;
  readonly image: string;
  readonly requests: ResourceAmounts;
  readonly placement: SandboxSpec['placement'];
  /** Monotonic. */
  readonly now: number;
  /** Never chosen: it has just failed, with the word for it. */
  readonly excluded?: { readonly runnerName: string; readonly why: Unavailability } | undefined;
  /** Chosen only when nothing else fits. */
  readonly avoided?: string | undefined;
}

/** Why a runner can not take a sandbox: the first of these that is so. */
export type Unavailability =
  | 'not ready'
  | 'not connected'
  | 'fenced'
  | 'unschedulable'
  | 'in another region'
  | 'of another class'
  | 'not selected'
  | 'in back-off after failures'
  | 'insufficient by its own count'
  | `insufficient ${ResourceName}`;

export type Choice =
  | { readonly kind: 'Chosen'; readonly runner: RunnerView; readonly agent: AgentView }
  /** `message` counts why not: `0 of 3 runners fit: 1 unschedulable, 2 insufficient cpu.` */
  | { readonly kind: 'None'; readonly message: string; readonly lookAgainAt: number | undefined };

/** Added to the share of a runner that lacks the image: less than one small sandbox, so that it decides only between almost equals. */
const imageAbsent = 0.02;

/** The runner that fits best. Pure and independent of the order of `fleet`. */
export function chooseRunner(fleet: readonly RunnerView[], request: PlacementRequest): Choice {
  const judged = fleet.map((runner) => ({ runner, why: unavailability(runner, request) }));
  const fitting = judged.flatMap(({ runner, why }) =>
    why === undefined && runner.agent !== undefined ? [rank(runner, runner.agent, request)] : [],
  );
  const [first, ...rest] = fitting;
  if (first === undefined) return { kind: 'None', message: describe(judged), lookAgainAt: endOfBackOff(fleet, request.now) };
  const { runner, agent } = rest.reduce((best, one) => (compare(one.rank, best.rank) < 0 ? one : best), first);
  return { kind: 'Chosen', runner, agent };
}

/** Why the runner can not take it; undefined when it can. */
export function unavailability(runner: RunnerView, request: PlacementRequest): Unavailability | undefined {
  if (request.excluded?.runnerName === runner.name) return request.excluded.why;
  if (!runner.isReady) return 'not ready';
  if (runner.agent?.isComplete !== true) return 'not connected';
  if (runner.fencing !== undefined) return 'fenced';
  if (runner.spec.unschedulable) return 'unschedulable';
  const unmatched = placementMismatch(runner, request.placement);
  if (unmatched !== undefined) return unmatched;
  if (runner.failures.until > request.now) return 'in back-off after failures';
  const lack = lacking(request.requests, freeOf(runner, runner.agent));
  return lack === undefined ? undefined : `insufficient ${lack}`;
}

/** What of spec.placement the runner does not meet. */
export function placementMismatch(
  runner: Pick<RunnerView, 'labels' | 'spec'>,
  placement: SandboxSpec['placement'],
): Unavailability | undefined {
  if (placement?.region !== undefined && placement.region !== runner.spec.region) return 'in another region';
  if (placement?.runnerClassName !== undefined && placement.runnerClassName !== runner.spec.runnerClassName) return 'of another class';
  const labels = Object.entries(placement?.runnerSelector?.matchLabels ?? {});
  return labels.every(([key, value]) => runner.labels[key] === value) ? undefined : 'not selected';
}

/** Compared from the first to the last, less is better. */
type Rank = readonly number[];

function rank(runner: RunnerView, agent: AgentView, request: PlacementRequest) {
  const { load, spec, failures } = runner;
  const share = dominantShare(add(takenOf(runner, agent), request.requests), agent.capacity);
  return {
    runner,
    agent,
    rank: [
      Number(request.avoided === runner.name),
      Number(failures.sandboxes > 0),
      Number(load.started + 1 > spec.maxStarted),
      share + (agent.images.includes(request.image) ? 0 : imageAbsent),
      load.started,
      stableHash(`${request.uid}/${runner.name}`),
    ],
  };
}

function compare(left: Rank, right: Rank): number {
  return left.map((value, index) => value - (right[index] ?? 0)).find((difference) => difference !== 0) ?? 0;
}

function describe(judged: readonly { readonly why: Unavailability | undefined }[]): string {
  if (judged.length === 0) return 'There are no runners.';
  const counts = [...Map.groupBy(judged, ({ why }) => why ?? 'not connected')].map(([why, some]) => ({ why, count: some.length }));
  const told = counts.toSorted((a, b) => (a.why < b.why ? -1 : 1)).map(({ why, count }) => `${count} ${why}`);
  return `0 of ${judged.length} runners fit: ${told.join(', ')}.`;
}

/** When the first back-off ends, by the monotonic clock. */
function endOfBackOff(fleet: readonly RunnerView[], now: number): number | undefined {
  const ends = fleet.map(({ failures }) => failures.until).filter((until) => until > now);
  return ends.length === 0 ? undefined : Math.min(...ends);
}

/** FNV-1a: the same in every process. */
export function stableHash(text: string): number {
  return Array.from(text).reduce((hash, letter) => Math.imul(hash ^ (letter.codePointAt(0) ?? 0), 0x01000193) >>> 0, 0x811c9dc5);
}
