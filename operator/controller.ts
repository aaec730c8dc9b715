import type { Runner, Sandbox } from '../crds/index.ts';
import { createCache, type RunnableCache } from '../kube/cache.ts';
import { createClient } from '../kube/client.ts';
import { createElector, type ElectorOptions } from '../kube/election.ts';
import { equalJson } from '../kube/diff.ts';
import { createEventRecorder } from '../kube/events.ts';
import { leases as leaseResource, parseLease, type Lease } from '../kube/lease.ts';
import { keyOf } from '../kube/object.ts';
import type { Elector, KubeObject, KubeTransport } from '../kube/types.ts';
import { type Clock, type Random, sleep } from '../process/clock.ts';
import { BerthError } from '../process/errors.ts';
import type { Logger } from '../process/log.ts';
import type { Metrics } from '../process/metrics.ts';
import type { NodeView } from './assignment/fencing.ts';
import type { BackupRegistry } from './backups/controller.ts';
import { failpoint } from './failpoints.ts';
import { Hub } from './hub/controller.ts';
import type { AgentAuthenticator } from './hub/stream.ts';
import { defaultDeadlines, type Deadlines } from './lifecycle/deadlines.ts';
import { Peers } from './peers/controller.ts';
import { Relays } from './relay/controller.ts';
import { RelayServing } from './relay/serving.server.ts';
import { countStarted } from './observability/act.ts';
import type { PeerDialer } from './relay/stream.ts';
import { nodeResource, readNode, readRunner, readSandbox, runnerResource, sandboxResource, type NodeTaints } from './resources.ts';
import { RunnerController, RunnerLeases } from './runners/controller.ts';
import { Claims, Fleet } from './runners/gather.ts';
import { claimOf } from './sandboxes/claims.ts';
import { SandboxController, countByState, sandboxIndexes } from './sandboxes/controller.ts';
import type { TaskWorld } from './tasks/gather.ts';
import { UnclaimedController } from './unclaimed/controller.ts';

/** An agent waits so long for this pod to know the world: less than it waits for an answer, so that it is told why. */
const [letInMs, letInPollMs] = [8_000, 100];

export interface OperatorOptions {
  readonly transport: KubeTransport;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Namespace of the operator: its election and the Leases of the agents. */
  readonly namespace: string;
  /** The pod's name. */
  readonly podName: string;
  /** Of this very process: for the election. */
  readonly identity: string;
  readonly version: string;
  readonly authenticator: AgentAuthenticator;
  /** Checks the tokens of other operator pods. Absent: nothing is relayed for them. */
  readonly peerAuthenticator?: AgentAuthenticator;
  /** The other operator pods: as host:port, or the Service that names them, and how they are dialled while this one leads. Absent: there are none. */
  readonly peers?: { readonly addresses: readonly string[]; readonly service?: string | undefined; readonly dialer: PeerDialer };
  /** Whether every runner has a Node of its name, as where agents show node-bound tokens: then a Node that is gone or out of service tells of its machine. */
  readonly watchesNodes?: boolean;
  /** Sandboxes worked on at the same time. Default 16. */
  readonly workers?: number | undefined;
  /** After it began to lead, an operator gives agents this long to connect and report before it judges deadlines. Default 30,000 ms. */
  readonly patienceMs?: number;
  /** How often the token of an agent's stream is checked again. Default 300,000 ms. */
  readonly tokenRecheckMs?: number;
  /** How long each state of a Sandbox may last. */
  readonly deadlines?: Deadlines;
  /** The registry of backups. Absent: nothing can be backed up. */
  readonly backups?: BackupRegistry | undefined;
  /** Times of the election; the defaults are those of the elector. */
  readonly election?: ElectionTimes;
}

export type ElectionTimes = Pick<ElectorOptions, 'leaseDurationMs' | 'renewDeadlineMs' | 'retryPeriodMs'>;

const patienceMs = 30_000;
/** So long after a decision its Events are written: the start that they tell of is mostly over by then. */
const eventsLingerMs = 250;

/** The name of the Lease that the leader holds. */
export const electionName = 'berth-operator';

/** One operator pod without what is around it: no port, no signal, no file. The simulation runs it as it is. */
export class Operator {
  /** Every pod has one: agents connect to all of them. */
  readonly hub: Hub;
  /** What other operator pods dial. */
  readonly relay: RelayServing | undefined;
  readonly #options: OperatorOptions;
  readonly #sandboxes: RunnableCache<Sandbox>;
  readonly #runners: RunnableCache<Runner>;
  readonly #leases: RunnableCache<Lease>;
  readonly #nodes: RunnableCache<NodeTaints> | undefined;
  readonly #liveness: RunnerLeases;
  readonly #elector: Elector;
  readonly #peers: Peers | undefined;
  #term: Term | undefined;

  constructor(options: OperatorOptions) {
    const { transport, clock, random, log, metrics, namespace } = options;
    this.#options = options;
    const shared = { transport, clock, random, log, metrics };
    this.#sandboxes = createCache({ ...shared, resource: sandboxResource, parse: readSandbox, indexes: sandboxIndexes });
    this.#runners = createCache({ ...shared, resource: runnerResource, parse: readRunner });
    this.#leases = createCache({ ...shared, resource: leaseResource, parse: parseLease, namespace });
    this.#nodes = options.watchesNodes === true ? createCache({ ...shared, resource: nodeResource, parse: readNode }) : undefined;
    this.#liveness = new RunnerLeases(this.#leases, clock, (runnerName) => this.#term?.runners.leaseChanged(runnerName));
    countByState(this.#sandboxes, metrics);
    countStarted(this.#sandboxes, this.#runners, metrics);
    this.hub = new Hub({
      clock,
      log: log.child({ part: 'hub' }),
      metrics,
      random,
      operatorName: options.podName,
      operatorVersion: options.version,
      operatorID: options.identity,
      authenticator: this.#onceSynced(options.authenticator),
      ...(options.tokenRecheckMs !== undefined && { tokenRecheckMs: options.tokenRecheckMs }),
    });
    const { podName: operatorName, version: operatorVersion, peerAuthenticator, peers } = options;
    this.#peers =
      peers &&
      new Peers({
        ...{ transport, clock, random, namespace, podName: operatorName },
        fixed: peers.addresses,
        service: peers.service,
        log: log.child({ part: 'peers' }),
      });
    this.#peers?.subscribe((addresses) => this.hub.setPeers(addresses));
    this.relay =
      peerAuthenticator &&
      new RelayServing({
        ...{ hub: this.hub, authenticator: peerAuthenticator, operatorName, operatorVersion, clock },
        log: log.child({ part: 'relay' }),
      });
    this.#elector = createElector({
      ...shared,
      ...options.election,
      leases: this.#leases,
      namespace,
      name: electionName,
      identity: options.identity,
      onStartedLeading: (signal) => void this.#lead(signal),
      onStoppedLeading: () => this.#term?.done,
    });
  }

  /** The other operator pods, as host:port; none while they are not known yet. */
  get peerAddresses(): readonly string[] {
    return this.#peers?.addresses ?? [];
  }

  /** Runs until the signal is aborted: caches at once, agents and the election as soon as they know the world. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const began = clock.monotonic();
    const caches = this.#caches();
    const running = [...caches, ...(this.#peers === undefined ? [] : [this.#peers])].map((part) => part.run(signal));
    try {
      await Promise.all(caches.map((cache) => cache.whenSynced(signal)));
      log.info({ ms: Math.round(clock.monotonic() - began) }, 'Caches synced');
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    if (!signal.aborted) await this.#elector.run(signal);
    this.hub.close();
    this.relay?.close();
    await Promise.all(running);
  }

  isLeader(): boolean {
    return this.#elector.isLeader();
  }

  /** Why it can not work yet, in a sentence: for readiness. */
  notReady(): string | undefined {
    const synced = this.#caches().every((cache) => cache.hasSynced());
    return synced ? undefined : 'the caches have not synced yet';
  }

  /** What every pod knows of the world, for whoever serves callers. */
  get world(): TaskWorld {
    return { hub: this.hub, sandboxes: this.#sandboxes, runners: this.#runners };
  }

  /** Why it is not alive, in a sentence: a reconcile that takes longer than `limitMs`. */
  stuck(limitMs: number): string | undefined {
    return this.#term?.controllers.map((controller) => controller.stuck(limitMs)).find((reason) => reason !== undefined);
  }

  /**
   * Agents are let in when the caches know the world: before, this pod has nothing to tell them, and the checks of a whole fleet that comes
   * back at once, and what it writes of its connections, would keep the API server from answering the lists. Who has waited for too long is
   * told so, and comes again: nothing of those that have gone is kept.
   */
  #onceSynced(authenticator: AgentAuthenticator): AgentAuthenticator {
    const { clock } = this.#options;
    return {
      authenticate: async (token) => {
        const giveUpAt = clock.monotonic() + letInMs;
        for (let why = this.notReady(); why !== undefined; why = this.notReady()) {
          if (clock.monotonic() >= giveUpAt) throw new BerthError('CachesNotSynced', `This operator pod lets agents in later: ${why}.`);
          await sleep(clock, letInPollMs);
        }
        return authenticator.authenticate(token);
      },
    };
  }

  #caches(): readonly RunnableCache<KubeObject>[] {
    return [this.#sandboxes, this.#runners, this.#leases, ...(this.#nodes === undefined ? [] : [this.#nodes])];
  }

  #nodeOf(name: string): NodeView {
    if (this.#nodes === undefined) return undefined;
    const node = this.#nodes.get(name);
    if (node !== undefined) return { kind: 'Known', taints: node.taints };
    return this.#nodes.isUnreadable(name) ? undefined : { kind: 'Gone' };
  }

  async #lead(signal: AbortSignal): Promise<void> {
    const term = this.#begin(signal);
    this.#term = term;
    FAILPOINT: failpoint('term.begun');
    await term.done;
    if (this.#term === term) this.#term = undefined;
  }

  /** Everything that only a leader does, made anew for each term: nothing that was believed before counts. */
  #begin(signal: AbortSignal): Term {
    const { transport, clock, random, log, metrics } = this.#options;
    const patientUntil = clock.monotonic() + (this.#options.patienceMs ?? patienceMs);
    const stop = new AbortController();
    const claims = new Claims();
    const unsubscribe = this.#sandboxes.subscribe({
      added: (sandbox) => claims.store(keyOf(sandbox), claimOf(sandbox)),
      updated: (sandbox) => claims.store(keyOf(sandbox), claimOf(sandbox)),
      deleted: (sandbox) => claims.store(keyOf(sandbox), undefined),
    });
    const fleet = new Fleet({
      runners: this.#runners,
      facts: (name) => this.hub.facts(name),
      liveness: this.#liveness,
      claims,
      nodeOf: (name) => this.#nodeOf(name),
    });
    const events = createEventRecorder({
      transport,
      controller: 'berth.dev/operator',
      instance: this.#options.podName,
      lingerMs: eventsLingerMs,
      clock,
      random,
      log,
      metrics,
    });
    const runnerClient = createClient({ transport, resource: runnerResource, parse: readRunner, cache: this.#runners });
    const sandboxClient = createClient({ transport, resource: sandboxResource, parse: readSandbox, cache: this.#sandboxes });
    const isLeader = () => this.#elector.isLeader() && !signal.aborted;
    const shared = { clock, random, log, metrics, hub: this.hub, events, isLeader };
    const sandboxes = new SandboxController({
      ...shared,
      transport,
      sandboxes: this.#sandboxes,
      sandboxClient,
      runnerClient,
      fleet,
      workers: this.#options.workers,
      patientUntil,
      deadlines: this.#options.deadlines ?? defaultDeadlines,
      backups: this.#options.backups,
    });
    const runners = new RunnerController({
      ...shared,
      runners: this.#runners,
      client: runnerClient,
      leases: this.#liveness,
      fleet,
      patientUntil,
      changed: (runnerName) => sandboxes.runnerChanged(runnerName, 'Object'),
    });
    const nodeChanged = ({ metadata }: NodeTaints) => runners.leaseChanged(metadata.name);
    const unsubscribeNodes = this.#nodes?.subscribe({
      added: nodeChanged,
      updated: (node, old) => {
        if (!equalJson(node.taints, old.taints)) nodeChanged(node);
      },
      deleted: nodeChanged,
    });
    const unclaimed = new UnclaimedController({ ...shared, sandboxes: this.#sandboxes, sandboxClient, runners: this.#runners });
    const { peers, podName: operatorName, version: operatorVersion } = this.#options;
    const relays =
      peers &&
      this.#peers &&
      new Relays({
        ...{ clock, random, hub: this.hub, runners: this.#runners, operatorName, operatorVersion },
        peers: this.#peers,
        dialer: peers.dialer,
        log: log.child({ part: 'relay' }),
      });
    const writing = events.run(stop.signal);
    const done = Promise.all([sandboxes.run(signal), runners.run(signal), unclaimed.run(signal), relays?.run(signal)]).then(async () => {
      unsubscribe();
      unsubscribeNodes?.();
      stop.abort();
      await writing;
    });
    return { controllers: [sandboxes, runners, unclaimed], runners, done };
  }
}

interface Term {
  readonly controllers: readonly { stuck(limitMs: number): string | undefined }[];
  readonly runners: RunnerController;
  readonly done: Promise<void>;
}
