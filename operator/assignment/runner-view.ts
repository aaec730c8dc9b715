import type { ResourceAmounts, RunnerSpec } from '../../crds/index.ts';
import { add, larger, setAsideForTasks, subtract } from '../../crds/resources.ts';
import type { Fencing } from './fencing.ts';

/** What the agent of a connected runner says of itself. */
export interface AgentView {
  readonly storeID: string;
  readonly bootID: string;
  /** Its inventory is complete: what is not in it is not on the runner. */
  readonly isComplete: boolean;
  readonly capacity: ResourceAmounts;
  /** What the agent counts as given away, without the sandbox that is decided on. */
  readonly allocated: ResourceAmounts;
  /** References of the images that are present. */
  readonly images: readonly string[];
}

/** What the operator knows to lie on a runner, or has just placed there, without the sandbox that is decided on. */
export interface Load {
  readonly amounts: ResourceAmounts;
  /** Sandboxes that run or are being started. */
  readonly started: number;
}

/** How a runner did lately; see runners/failures.ts. */
export interface FailureView {
  /** Different sandboxes that failed there and nowhere else since the last success. */
  readonly sandboxes: number;
  /** Monotonic time until which nothing is placed there; 0: it may be used. */
  readonly until: number;
}

/** A runner as one decision sees it. */
export interface RunnerView {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: RunnerSpec;
  /** Its Lease is renewed, judged by this process's own clock. */
  readonly isReady: boolean;
  /** What asserts that nothing runs on its machine; undefined: nothing does. */
  readonly fencing: Fencing | undefined;
  /** The store and boot as last known: of the connected agent, else of the Runner's status. */
  readonly storeID: string | undefined;
  readonly bootID: string | undefined;
  /** Undefined while no agent is connected to this operator pod. */
  readonly agent: AgentView | undefined;
  readonly load: Load;
  readonly failures: FailureView;
}

/** D7: its Lease has expired and no agent of it is connected. What ran there may still run. */
export function isLost(runner: RunnerView | undefined): boolean {
  return runner?.isReady !== true && runner?.agent === undefined;
}

/** What is taken of the runner by others: what we placed or what the agent counts, whichever is more. */
export function takenOf(runner: RunnerView, agent: AgentView): ResourceAmounts {
  return add(larger(runner.load.amounts, agent.allocated), setAsideForTasks(runner.spec));
}

/** What is free for the sandbox that is decided on. */
export function freeOf(runner: RunnerView, agent: AgentView): ResourceAmounts {
  return subtract(agent.capacity, takenOf(runner, agent));
}
