import { Wanted } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { OperatorMessage } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import { fairWeather } from './models/api-client.ts';
import type { Process } from './engine/process.ts';
import type { Machine } from './models/machine.ts';
import type { Connection, Direction } from './models/network.ts';
import type { Fault, FaultKind } from './plan.ts';
import type { Node, Pod, World } from './world.ts';

/** Lets one thing go wrong for a while. */
export class Faults {
  readonly #world: World;
  /** Pods that are to be paused as soon as a status write of theirs is acknowledged. */
  readonly #armed = new Map<Pod, number>();
  #holds = 0;
  /** Every order that was ever sent to a runner, for the adversary who sends old ones again. */
  readonly #sent = new Map<string, OperatorMessage[]>();
  /** Everything that goes on at the end, so that healing ends it. */
  readonly #ends = new Set<() => void>();

  constructor(world: World) {
    this.#world = world;
    world.store.onChange((_, __, ___, by) => {
      for (const [pod, forMs] of this.#armed) {
        if (pod.process?.name !== by) continue;
        this.#armed.delete(pod);
        this.#pause(pod.process, forMs);
      }
    });
  }

  /** Remembers an order for `replay`. */
  sent(runner: string, message: OperatorMessage): void {
    const sent = this.#sent.get(runner) ?? [];
    sent.push(message);
    this.#sent.set(runner, sent);
  }

  begin({ kind, runner, operator, forMs }: Fault): void {
    const world = this.#world;
    const node = world.nodes[runner];
    const pod = world.pods[operator];
    if (node === undefined || pod === undefined) return;
    world.counts.faults++;
    world.calm.trouble(forMs);
    world.trace.add('fault', `${kind} (${node.machine.name}, ${pod.name}) for ${forMs} ms`);
    effects[kind]({
      world,
      node,
      machine: node.machine,
      pod,
      connections: world.network.between(node.machine.name, pod.name),
      forMs,
      sent: this.#sent.get(node.machine.name) ?? [],
      pause: (process) => {
        this.#pause(process, forMs);
      },
      arm: () => this.#armed.set(pod, forMs),
      hold: () => this.#hold(forMs),
      afterwards: (end) => {
        this.#later(forMs, end);
      },
    });
  }

  /** The adversary's last word: old orders come once more, in any sequence. */
  replayAll(): void {
    const { nodes, pods, network, trace, scheduler } = this.#world;
    trace.add('fault', 'old orders are sent once more');
    this.#world.calm.trouble(replayMs);
    for (const { machine } of nodes) {
      const [connection] = pods.flatMap(({ name }) => network.between(machine.name, name));
      for (const message of this.#sent.get(machine.name) ?? []) {
        if (machine.random.chance(0.5)) scheduler.after(machine.random.between(0, replayMs), () => connection?.sendToAgent(message));
      }
    }
  }

  /** Everything works again, at once. */
  heal(): void {
    const { nodes, pods, api, network, registry } = this.#world;
    this.#world.trace.add('fault', 'everything is healed');
    this.#armed.clear();
    api.heldWrites.releaseAll();
    for (const end of [...this.#ends]) end();
    Object.assign(api.weather, { ...fairWeather(), cutOff: api.weather.cutOff });
    api.weather.cutOff.clear();
    network.cut.clear();
    Object.assign(registry.weather, { isDown: false, failed: 0, ambiguous: 0, slowness: 1 });
    registry.weather.cutOff.clear();
    for (const node of nodes) {
      if (node.machine.weather.isDown) node.machine.startContainerd();
      node.agent?.resume();
      this.#world.startAgent(node);
    }
    for (const pod of pods) {
      pod.process?.resume();
      this.#world.startOperator(pod);
    }
  }

  /** The next status waits on its way until others have written; its sender goes on, ends, or is frozen and wakes when another leads. */
  #hold(forMs: number): void {
    const { api, trace, random } = this.#world;
    const draw = random.fork(`hold/${this.#holds++}`);
    const fate = draw.weighted({ goesOn: 2, ends: 1, freezes: 1 });
    api.heldWrites.arm({
      mostMs: longestHoldMs,
      began: ({ process, ref }) => {
        this.#world.calm.trouble(longestHoldMs);
        trace.add(process.name, `its status of ${ref.namespace ?? ''}/${ref.name} is held on its way`);
        if (fate === 'ends') this.#end(process, forMs);
        if (fate === 'freezes') this.#pause(process, forMs);
      },
      ended: ({ process, ref }) => trace.add(process.name, `its status of ${ref.namespace ?? ''}/${ref.name} arrives late`),
    });
  }

  #end(process: Process, forMs: number): void {
    const pod = this.#world.pods.find((one) => one.process === process);
    if (pod === undefined) return;
    this.#world.kill(process);
    this.#later(forMs, () => this.#world.startOperator(pod));
  }

  #pause(process: Node['agent'], forMs: number): void {
    if (process?.isRunning !== true) return;
    this.#world.trace.add(process.name, 'PAUSED');
    process.pause();
    this.#later(forMs, () => {
      if (process.isAlive && !process.isRunning) this.#world.trace.add(process.name, 'RESUMED');
      process.resume();
    });
  }

  /** What ends the fault, after its time or when everything is healed. */
  #later(ms: number, run: () => unknown): void {
    this.#world.calm.trouble(ms);
    const end = () => {
      if (!this.#ends.delete(end)) return;
      timer.cancel();
      run();
    };
    const timer = this.#world.scheduler.after(ms, end);
    this.#ends.add(end);
  }
}

/** Longer than any operator waits for an answer, and than another needs to become the leader. */
const longestHoldMs = 10 * 60_000;
const mostReplayed = 30;
/** One after the other, so that each has time to do harm before the next supersedes it. */
const replayMs = 20_000;
const hastyMs = 4_000;

interface Scene {
  readonly world: World;
  readonly node: Node;
  readonly machine: Machine;
  readonly pod: Pod;
  /** The streams between the two. */
  readonly connections: readonly Connection[];
  readonly forMs: number;
  /** Every order that was ever sent to the runner. */
  readonly sent: readonly OperatorMessage[];
  readonly pause: (process: Process | undefined) => void;
  readonly arm: () => void;
  /** The next status of a sandbox is held on its way. */
  readonly hold: () => void;
  /** What ends the fault. */
  readonly afterwards: (end: () => void) => void;
}

const effects: Readonly<Record<FaultKind, (scene: Scene) => void>> = {
  agentCrash: ({ world, node, afterwards }) => {
    world.kill(node.agent);
    afterwards(() => world.startAgent(node));
  },
  agentPause: ({ node, pause }) => pause(node.agent),
  reboot: ({ world, node, machine, afterwards }) => {
    world.kill(node.agent);
    machine.reboot();
    afterwards(() => world.startAgent(node));
  },
  wipe: (scene) => {
    const { world, node, machine, sent, afterwards } = scene;
    world.kill(node.agent);
    machine.wipe();
    afterwards(() => {
      world.startAgent(node);
      // What the agent has forgotten comes again before anybody has seen that it has.
      resend(scene, sent.filter(isStart).slice(-mostReplayed), hastyMs);
    });
  },
  journalFails: ({ node, afterwards }) => {
    node.journal.isBroken = true;
    afterwards(() => (node.journal.isBroken = false));
  },
  agentCutOff: ({ world, node, afterwards }) => cutOff(world, node.agent, afterwards),
  containerdRestart: ({ machine, afterwards }) => {
    machine.stopContainerd();
    afterwards(() => {
      if (machine.weather.isDown) machine.startContainerd();
    });
  },
  runtimeTrouble: ({ machine, afterwards }) => {
    Object.assign(machine.weather, { failed: 0.15, ambiguous: 0.15, lostEvent: 0.5, slowness: machine.random.pick([1, 1, 5]) });
    afterwards(() => Object.assign(machine.weather, { failed: 0, ambiguous: 0, lostEvent: 0, slowness: 1 }));
  },
  exits: ({ machine }) => {
    for (const copy of machine.copies.values()) {
      if (copy.task.state !== 'Running' || machine.random.chance(0.3)) continue;
      const oomKilled = machine.random.chance(0.5);
      machine.end(
        copy,
        copy.task.run,
        oomKilled ? { code: 137, signal: 9, oomKilled } : { code: machine.random.pick([0, 1]), signal: 0, oomKilled },
      );
    }
  },
  operatorCrash: ({ world, pod, afterwards }) => {
    world.kill(pod.process);
    afterwards(() => world.startOperator(pod));
  },
  operatorPause: ({ pod, pause }) => pause(pod.process),
  operatorPauseAtWrite: ({ arm }) => arm(),
  writeHeld: ({ hold }) => hold(),
  operatorCutOff: ({ world, pod, afterwards }) => cutOff(world, pod.process, afterwards),
  linkBreak: ({ connections }) => {
    for (const connection of connections) connection.break('connection reset');
  },
  linkCut: ({ world, machine, pod, connections, afterwards }) => {
    const pair = `${machine.name}|${pod.name}`;
    world.network.cut.add(pair);
    for (const connection of connections) connection.break('keepalive timeout', [10_000, 40_000]);
    afterwards(() => world.network.cut.delete(pair));
  },
  ordersFrozen: (scene) => freeze(scene, 'orders'),
  reportsFrozen: (scene) => freeze(scene, 'reports'),
  replay: (scene) => resend(scene, scene.machine.random.shuffled(scene.sent).slice(0, mostReplayed), replayMs),
  apiDown: ({ world, afterwards }) => {
    world.api.weather.isDown = true;
    world.api.breakWatches();
    afterwards(() => (world.api.weather.isDown = false));
  },
  apiTrouble: ({ world: { api }, afterwards }) => {
    Object.assign(api.weather, { refused: 0.1, lostAnswer: 0.1, lateWrite: 0.05, latency: [20, 2000] });
    afterwards(() => Object.assign(api.weather, { refused: 0, lostAnswer: 0, lateWrite: 0, latency: [2, 40] }));
  },
  watchLag: ({ world, afterwards }) => {
    world.api.weather.watchDelay = 15_000;
    afterwards(() => (world.api.weather.watchDelay = 20));
  },
  compaction: ({ world }) => world.api.compact(),
  registryDown: ({ world: { registry }, afterwards }) => {
    registry.weather.isDown = true;
    afterwards(() => (registry.weather.isDown = false));
  },
  registryTrouble: ({ world: { registry }, machine, afterwards }) => {
    Object.assign(registry.weather, { failed: 0.15, ambiguous: 0.15, slowness: machine.random.pick([1, 5, 20]) });
    afterwards(() => Object.assign(registry.weather, { failed: 0, ambiguous: 0, slowness: 1 }));
  },
  registryCutOff: ({ world: { registry }, machine, pod, afterwards }) => {
    const name = machine.random.chance(0.5) ? machine.name : pod.name;
    registry.weather.cutOff.add(name);
    afterwards(() => registry.weather.cutOff.delete(name));
  },
  backupHarmed: ({ world: { registry, trace }, machine: { random } }) => {
    const whole = registry.backups.filter(({ condition }) => condition === 'Whole');
    if (whole.length === 0) return;
    const { repository, digest, uid, id } = random.pick(whole);
    const condition = random.pick(['Corrupt', 'Corrupt', 'BlobMissing', 'Gone'] as const);
    trace.add('fault', `backup ${uid}-${id} is ${condition}`);
    registry.harm(repository, digest, condition);
  },
};

/** Old orders come once more within so many milliseconds, over whatever stream there is by then. */
function resend({ world, machine }: Scene, sent: readonly OperatorMessage[], withinMs: number): void {
  for (const message of sent) {
    world.scheduler.after(machine.random.between(0, withinMs), () => {
      const [connection] = world.pods.flatMap(({ name }) => world.network.between(machine.name, name));
      connection?.sendToAgent(message);
    });
  }
}

function isStart({ message }: OperatorMessage): boolean {
  return message?.$case === 'order' && message.value.wanted === Wanted.WANTED_RUNNING;
}

/** The API server cannot be reached by this process. */
function cutOff({ api }: World, process: Process | undefined, afterwards: Scene['afterwards']): void {
  if (process === undefined) return;
  api.weather.cutOff.add(process.name);
  api.breakWatches((one) => one === process);
  afterwards(() => api.weather.cutOff.delete(process.name));
}

function freeze({ connections, afterwards }: Scene, direction: Direction): void {
  for (const connection of connections) connection.freeze(direction);
  afterwards(() => {
    for (const connection of connections) connection.thaw(direction);
  });
}
