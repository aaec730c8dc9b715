import { UnclaimedKind, type Unclaimed } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { Runner, Sandbox } from '../../crds/index.ts';
import type { Client } from '../../kube/client.ts';
import { createController, type Controller, type ReconcileResult } from '../../kube/controller.ts';
import { equalJson } from '../../kube/diff.ts';
import { isKubeError } from '../../kube/errors.ts';
import { createWorkQueue } from '../../kube/queue.ts';
import type { Cache, EventRecorder, WorkQueue } from '../../kube/types.ts';
import type { Clock, Random } from '../../process/clock.ts';
import type { Logger } from '../../process/log.ts';
import type { Metrics } from '../../process/metrics.ts';
import type { Hub } from '../hub/controller.ts';
import type { RunnerFacts } from '../hub/facts.ts';
import { confirmed, unnamedCopies, type UnnamedCopy } from './unnamed.ts';

export interface UnclaimedControllerOptions {
  readonly sandboxes: Cache<Sandbox>;
  readonly sandboxClient: Pick<Client<Sandbox>, 'get'>;
  readonly runners: Cache<Runner>;
  readonly hub: Hub;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly isLeader: () => boolean;
}

/** After something changed, a runner's copies are looked at so much later: many changes come together. */
const settleMs = 5_000;
/** What is said is said again so often while it holds, and believed by the agent for so long. */
const repeatMs = 60_000;
const validSeconds = 180;

/**
 * Tells agents which of their copies no object claims, while this operator leads. Nothing is said that the API server has not just confirmed
 * for each copy: one whose object can not be read is not named, and when the API server does not answer nothing is said at all, and what was
 * said before expires.
 */
export class UnclaimedController {
  readonly #options: UnclaimedControllerOptions;
  readonly #queue: WorkQueue;
  readonly #controller: Controller;
  /** What was said last to each runner. */
  readonly #said = new Map<string, readonly UnnamedCopy[]>();

  constructor(options: UnclaimedControllerOptions) {
    const { clock, random, log, metrics } = options;
    this.#options = options;
    this.#queue = createWorkQueue({ name: 'unclaimed', clock, random, metrics });
    this.#controller = createController({
      name: 'unclaimed',
      queue: this.#queue,
      reconcile: (name) => this.#reconcile(name),
      workers: 2,
      clock,
      log,
      metrics,
    });
  }

  /** Works until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { sandboxes, hub } = this.#options;
    const stops = [
      sandboxes.subscribe({
        added: (sandbox) => this.#nameChanged(sandbox),
        updated: (sandbox, old) => {
          if (!equalJson(places(sandbox), places(old))) this.#nameChanged(old);
        },
        deleted: (sandbox) => this.#nameChanged(sandbox),
      }),
      hub.subscribe({
        copiesChanged: (runnerName) => this.#lookSoon(runnerName),
        runnerChanged: (runnerName, what) => what === 'Connected' && this.#lookSoon(runnerName),
      }),
    ];
    try {
      await this.#controller.run(signal);
    } finally {
      for (const stop of stops) stop();
    }
  }

  stuck(limitMs: number): string | undefined {
    return this.#controller.stuck(limitMs);
  }

  #nameChanged(sandbox: Sandbox): void {
    for (const { runnerName } of places(sandbox)) this.#lookSoon(runnerName);
  }

  #lookSoon(runnerName: string): void {
    this.#queue.addAfter(runnerName, settleMs);
  }

  async #reconcile(runnerName: string): Promise<ReconcileResult | undefined> {
    const { runners, hub, isLeader } = this.#options;
    const runner = runners.get(runnerName);
    const facts = hub.facts(runnerName);
    if (runner === undefined || facts?.isComplete !== true || !isLeader()) return undefined;
    const found = unnamedCopies(facts, runner, (uid) => this.#options.sandboxes.byIndex('uid', uid)[0]);
    const said = this.#said.get(runnerName) ?? [];
    if (found.length === 0 && said.length === 0 && runner.status.unclaimed.length === 0) return undefined;
    const answers = await Promise.all(found.map((copy) => this.#confirm(copy, facts)));
    const unclaimed = answers.filter((copy) => copy !== undefined);
    if (!isLeader()) return undefined;
    this.#said.set(runnerName, unclaimed);
    hub.tell(runnerName, messageOf(facts.storeID, unclaimed));
    this.#record(runner, unclaimed, said);
    return unclaimed.length === 0 ? undefined : { requeueAfterMs: repeatMs };
  }

  /** Whether the API server knows no object that names the copy. One that can not be read may well name it. Rejects when nobody answers. */
  async #confirm(copy: UnnamedCopy, facts: RunnerFacts): Promise<UnnamedCopy | undefined> {
    const { namespace, name } = copy;
    try {
      return confirmed(copy, facts, await this.#options.sandboxClient.get({ namespace, name }));
    } catch (error) {
      if (isKubeError(error, 'NotFound')) return confirmed(copy, facts, undefined);
      if (isKubeError(error, 'Malformed')) return undefined;
      throw error;
    }
  }

  #record(runner: Runner, unclaimed: readonly UnnamedCopy[], before: readonly UnnamedCopy[]): void {
    const known = [...before, ...runner.status.unclaimed];
    for (const { uid, epoch, namespace, name, kind } of unclaimed) {
      if (known.some((one) => one.uid === uid && one.epoch === epoch)) continue;
      const why = kind === 'NoObject' ? 'belongs to no Sandbox' : 'is not the one that its Sandbox names';
      const note = `A copy of ${namespace}/${name} (uid ${uid}, epoch ${epoch}) ${why}. It is kept.`;
      this.#options.log.warn({ runner: runner.metadata.name, uid, epoch, kind }, 'Copy that nobody claims');
      this.#options.events.record({ regarding: runner, type: 'Warning', reason: 'UnclaimedCopy', action: 'Watch', note });
    }
  }
}

/** Every place that the object names. */
function places({ status: { runnerName, assignment, releases } }: Sandbox) {
  const assigned = runnerName === undefined || assignment === undefined ? [] : [{ runnerName, epoch: assignment.epoch }];
  return [...assigned, ...releases.map((release) => ({ runnerName: release.runnerName, epoch: release.epoch }))];
}

function messageOf(storeId: string, unclaimed: readonly UnnamedCopy[]): Unclaimed {
  return {
    storeId,
    copies: unclaimed.map(({ uid, epoch, kind }) => ({ uid, epoch, kind: kinds[kind] })),
    validSeconds,
  };
}

const kinds = {
  NoObject: UnclaimedKind.UNCLAIMED_KIND_NO_OBJECT,
  Superseded: UnclaimedKind.UNCLAIMED_KIND_SUPERSEDED,
} as const;
