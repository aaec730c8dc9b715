import type { ResourceAmounts, Runner } from '../../crds/index.ts';
import type { Cache } from '../../kube/types.ts';
import { NOTHING, add, subtract } from '../assignment/amounts.ts';
import type { AgentView, FailureView, Load, RunnerView } from '../assignment/runner-view.ts';
import type { RunnerFacts } from '../hub/facts.ts';
import type { Claim } from '../sandboxes/claims.ts';
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
}

export interface FleetSources {
  readonly runners: Cache<Runner>;
  /** What the connected agent of a runner says. */
  readonly facts: (runnerName: string) => RunnerFacts | undefined;
  readonly liveness: Liveness;
  readonly claims: Claims;
}

/** What a view of a runner is made of, beside the object. */
interface Ingredients {
  readonly facts: RunnerFacts | undefined;
  readonly isReady: boolean;
  readonly load: Load;
  readonly failures: FailureView;
  /** What the agent counts for the sandbox that is decided on. */
  readonly own: ResourceAmounts;
}

/** Every runner as a decision about one sandbox sees it. */
export class Fleet {
  readonly #sources: FleetSources;
  /** The views that all sandboxes share which are not on the runner: the next decision most often sees the same. */
  readonly #shared = new WeakMap<Runner, Ingredients & { readonly view: RunnerView }>();
  #failures: FailureHistory = noFailures;

  constructor(sources: FleetSources) {
    this.#sources = sources;
  }

  get claims(): Claims {
    return this.#sources.claims;
  }

  /** `key` is the sandbox that is decided on; `now` is monotonic. */
  views(key: string, now: number): readonly RunnerView[] {
    return this.#sources.runners.list().map((runner) => this.#view(runner, key, now));
  }

  /** A sandbox failed there by a cause that lies with the runner. */
  failed(runnerName: string, uid: string, now: number, jitter: number): void {
    this.#failures = afterFailure(this.#failures, { runnerName, uid, now, jitter });
  }

  succeeded(runnerName: string): void {
    this.#failures = afterSuccess(this.#failures, runnerName);
  }

  #view(runner: Runner, key: string, now: number): RunnerView {
    const { facts, liveness, claims } = this.#sources;
    const { name } = runner.metadata;
    const own = claims.of(key);
    const isOn = own?.runnerName === name;
    const ingredients: Ingredients = {
      facts: facts(name),
      isReady: liveness.isReady(name),
      load: claims.load(name, key),
      failures: failureView(this.#failures, name, now),
      own: isOn ? own.amounts : NOTHING,
    };
    if (isOn) return viewOf(runner, ingredients);
    const shared = this.#shared.get(runner);
    if (shared !== undefined && isSame(shared, ingredients)) return shared.view;
    const view = viewOf(runner, ingredients);
    this.#shared.set(runner, { ...ingredients, view });
    return view;
  }
}

/** All of them are values that are replaced when they change. */
function isSame(a: Ingredients, b: Ingredients): boolean {
  return a.facts === b.facts && a.isReady === b.isReady && a.load === b.load && a.failures === b.failures;
}

function viewOf({ metadata: { name, labels }, spec, status }: Runner, { facts, isReady, load, failures, own }: Ingredients): RunnerView {
  const agent = facts?.isConnected === true ? agentView(facts, own) : undefined;
  return {
    name,
    labels,
    spec,
    isReady,
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
