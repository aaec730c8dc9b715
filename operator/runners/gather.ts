import type { ResourceAmounts, Runner } from '../../crds/index.ts';
import type { Cache } from '../../kube/types.ts';
import { NOTHING, add, subtract } from '../../crds/resources.ts';
import type { AgentView, FailureView, Load, RunnerView } from '../assignment/runner-view.ts';
import type { RunnerFacts } from '../hub/facts.ts';
import { fencingOf, type Fencing, type NodeView } from '../assignment/fencing.ts';
import type { Claim } from '../sandboxes/claims.ts';
import { suspensionOf, type FleetHealth } from './suspension.ts';
import { afterFailure, afterSuccess, failureView, noFailures, type FailureHistory } from './failures.ts';

/**
 * What the sandboxes take of each runner: by their objects, and by decisions whose patch is on its way (assumed), so that decisions made at
 * the same time never give the same room away twice. A sandbox counts once: what is assumed stands instead of what its object says.
 */
export class Claims {
  readonly #stored = new Map<string, Claim>();
  readonly #assumed = new Map<string, Claim>();
  readonly #loads = new Map<string, Load>();

  /** Takes the claim of a sandbox's object, under its key; undefined when it has none. */
  store(key: string, claim: Claim | undefined): void {
    this.#change(key, this.#stored, claim);
  }

  /** Until `settle`, this stands for the sandbox. */
  assume(key: string, claim: Claim | undefined): void {
    this.#change(key, this.#assumed, claim);
  }

  /** The patch is acknowledged or has failed: the object counts again. */
  settle(key: string): void {
    this.#change(key, this.#assumed, undefined);
  }

  /** What the sandbox takes now, the assumed before the stored; undefined: nothing. */
  of(key: string): Claim | undefined {
    return this.#assumed.get(key) ?? this.#stored.get(key);
  }

  /** What all sandboxes but this one take of a runner. */
  load(runnerName: string, exceptKey: string): Load {
    const load = this.#loads.get(runnerName) ?? empty;
    const own = this.of(exceptKey);
    return own?.runnerName === runnerName ? without(load, own) : load;
  }

  #change(key: string, map: Map<string, Claim>, claim: Claim | undefined): void {
    const before = this.of(key);
    if (claim === undefined) map.delete(key);
    else map.set(key, claim);
    const after = this.of(key);
    if (before !== undefined) this.#loads.set(before.runnerName, without(this.#loads.get(before.runnerName) ?? empty, before));
    if (after !== undefined) this.#loads.set(after.runnerName, withClaim(this.#loads.get(after.runnerName) ?? empty, after));
  }
}

const empty: Load = { amounts: NOTHING, started: 0 };

function withClaim({ amounts, started }: Load, claim: Claim): Load {
  return { amounts: add(amounts, claim.amounts), started: started + Number(claim.isStarted) };
}

function without({ amounts, started }: Load, claim: Claim): Load {
  return { amounts: subtract(amounts, claim.amounts), started: started - Number(claim.isStarted) };
}

/** Whether runners are alive, by their Leases as this process saw them change. */
export interface Liveness {
  isReady(runnerName: string): boolean;
  /** Milliseconds until its Lease expires, 0 or less when it has; undefined when there is none. */
  remaining(runnerName: string): number | undefined;
}

export interface FleetSources {
  readonly runners: Cache<Runner>;
  /** What the connected agent of a runner says. */
  readonly facts: (runnerName: string) => RunnerFacts | undefined;
  readonly liveness: Liveness;
  readonly claims: Claims;
  /** What Nodes say of a runner's machine. */
  readonly nodeOf: (runnerName: string) => NodeView;
}

/** Every runner as a decision about one sandbox sees it. */
export class Fleet {
  readonly #sources: FleetSources;
  /**
   * Views that hold for every sandbox that takes nothing of the runner: made anew only when something has changed. With hundreds of runners
   * and thousands of sandboxes to look at, views are most of what is computed, and of the garbage: V8 learns that views live long, and puts
   * all of them where garbage is seldom collected.
   */
  readonly #views = new WeakMap<Runner, { readonly facts: RunnerFacts | undefined; readonly view: RunnerView }>();
  #failures: FailureHistory = noFailures;

  constructor(sources: FleetSources) {
    this.#sources = sources;
  }

  get claims(): Claims {
    return this.#sources.claims;
  }

  /** `key` is the sandbox that is decided on; `now` is monotonic. */
  views(key: string, now: number): readonly RunnerView[] {
    const glimpses = this.#glimpses();
    const isSuspended = suspensionOf(healthOf(glimpses)).kind === 'Suspended';
    const viewer = { key, own: this.claims.of(key), now, isSuspended };
    return glimpses.map((glimpse) => this.#view(glimpse, viewer));
  }

  /** How many runners are lost. One that never had a Lease counts for nothing. */
  health(): FleetHealth {
    return healthOf(this.#glimpses());
  }

  /** Its Lease has expired and its agent is not reached. */
  isLost(runnerName: string): boolean {
    const { liveness, facts } = this.#sources;
    return !liveness.isReady(runnerName) && facts(runnerName)?.isConnected !== true;
  }

  /** What asserts that nothing runs on the runner's machine. */
  fencing(runner: Runner): Fencing | undefined {
    return this.#fencing(runner, suspensionOf(this.health()).kind === 'Suspended');
  }

  /** There is a Runner of this name that this version can not read and never could: nothing is known of it, least of all that it is gone. */
  isUnreadable(runnerName: string): boolean {
    const { runners } = this.#sources;
    return runners.get(runnerName) === undefined && runners.isUnreadable(runnerName);
  }

  /** A sandbox failed there by a cause that lies with the runner. */
  failed(runnerName: string, uid: string, now: number, jitter: number): void {
    this.#failures = afterFailure(this.#failures, { runnerName, uid, now, jitter });
  }

  /** A sandbox was seen running there: what failed on this runner before counts no more, and its back-off ends. */
  succeeded(runnerName: string): void {
    this.#failures = afterSuccess(this.#failures, runnerName);
  }

  #fencing({ metadata: { name }, spec }: Runner, isSuspended: boolean): Fencing | undefined {
    return fencingOf(spec.fenced, this.#sources.nodeOf(name), isSuspended);
  }

  /** Each runner looked at once. */
  #glimpses(): readonly Glimpse[] {
    const { runners, liveness, facts } = this.#sources;
    return runners.list().map((runner) => {
      const { name } = runner.metadata;
      return { runner, remaining: liveness.remaining(name), facts: facts(name) };
    });
  }

  #view(glimpse: Glimpse, { key, own, now, isSuspended }: Viewer): RunnerView {
    const { runner, remaining, facts } = glimpse;
    const { name } = runner.metadata;
    const parts: ViewParts = {
      facts,
      isReady: isReady(remaining),
      fencing: this.#fencing(runner, isSuspended),
      load: this.claims.load(name, key),
      failures: failureView(this.#failures, name, now),
    };
    if (own?.runnerName === name) return viewOf(runner, parts, own.amounts);
    const before = this.#views.get(runner);
    if (before !== undefined && before.facts === facts && isStillSo(before.view, parts)) return before.view;
    const view = viewOf(runner, parts, NOTHING);
    this.#views.set(runner, { facts, view });
    return view;
  }
}

/** A runner's object, the time that its Lease has left, and what its agent says. */
interface Glimpse {
  readonly runner: Runner;
  readonly remaining: number | undefined;
  readonly facts: RunnerFacts | undefined;
}

/** The sandbox that is decided on, and when. */
interface Viewer {
  readonly key: string;
  readonly own: Claim | undefined;
  readonly now: number;
  readonly isSuspended: boolean;
}

/** What a view is made of beside the runner's object. Values: what is the same one has not changed. */
interface ViewParts {
  readonly facts: RunnerFacts | undefined;
  readonly isReady: boolean;
  readonly fencing: Fencing | undefined;
  readonly load: Load;
  readonly failures: FailureView;
}

function isStillSo({ isReady, fencing, load, failures }: RunnerView, parts: ViewParts): boolean {
  return (
    isReady === parts.isReady &&
    fencing === parts.fencing &&
    load === parts.load &&
    failures.sandboxes === parts.failures.sandboxes &&
    failures.until === parts.failures.until
  );
}

function isReady(remaining: number | undefined): boolean {
  return (remaining ?? 0) > 0;
}

function healthOf(glimpses: readonly Glimpse[]): FleetHealth {
  const known = glimpses.filter(({ remaining }) => remaining !== undefined);
  const lost = known.filter(({ remaining, facts }) => !isReady(remaining) && facts?.isConnected !== true);
  return { known: known.length, lost: lost.length };
}

/** `own` is what the sandbox that is decided on takes of this runner. */
function viewOf({ metadata, spec, status }: Runner, parts: ViewParts, own: ResourceAmounts): RunnerView {
  const { facts, isReady, fencing, load, failures } = parts;
  const agent = facts?.isConnected === true ? agentView(facts, own) : undefined;
  return {
    name: metadata.name,
    labels: metadata.labels,
    spec,
    isReady,
    fencing,
    storeID: agent?.storeID ?? status.storeID,
    bootID: agent?.bootID ?? status.bootID,
    agent,
    load,
    failures,
  };
}

function agentView({ storeID, bootID, isComplete, capacity, allocated, images }: RunnerFacts, own: ResourceAmounts): AgentView {
  return { storeID, bootID, isComplete, capacity, allocated: subtract(allocated, own), images };
}
