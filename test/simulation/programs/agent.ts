import { Connections } from '../../../agent/connections/controller.ts';
import type { Dialer } from '../../../agent/connections/stream.ts';
import { noToken } from '../../../agent/connections/token.client.ts';
import type { Journal } from '../../../agent/journal/journal.ts';
import { CopyController } from '../../../agent/copies/controller.ts';
import { RunnerPublisher } from '../../../agent/runner/controller.ts';
import { defaultRunnerSpec, publishedState } from '../../../agent/runner/own-runner.ts';
import { setAsideForTasks } from '../../../crds/resources.ts';
import { createLeaseKeeper } from '../../../kube/lease-keeper.ts';
import { BerthError } from '../../../process/errors.ts';
import { silentLogger } from '../../../process/log.ts';
import type { Process } from '../engine/process.ts';
import { RuntimeModel } from '../models/runtime.ts';
import type { Sabotage } from '../sabotage.ts';
import type { Node, World } from '../world.ts';
import { operatorNamespace } from './operator.ts';

/** How long whoever keeps the agent running waits before it starts it again. */
const restartMs = 1_000;

/** An agent as its main.ts makes it, on the ports of the simulation. */
export function startAgent(world: World, node: Node, process: Process, sabotage: Sabotage): void {
  const { machine } = node;
  const { pace } = world.plan.scale;
  const runtime = new RuntimeModel(machine, world.registry, process);
  const journal = journalOf(node, process);
  if (journal === undefined) {
    world.restartAgent(node, restartMs);
    return;
  }
  const shared = { clock: process, random: () => process.random.next(), log: silentLogger };
  const { storeID, incarnation } = journal.state();
  const identity = {
    storeID,
    incarnation,
    runnerName: machine.name,
    agentID: `agent-${process.name}`,
    bootID: machine.bootID,
    installID: 'simulation',
    version: 'simulation',
  };
  const copies = new CopyController({
    ...shared,
    runtime: sabotage.runtime?.(runtime, machine, process) ?? runtime,
    journal,
    storeID,
    bootID: machine.bootID,
    capacity: machine.capacity,
    reserved: setAsideForTasks(defaultRunnerSpec),
    relistMs: 30_000 * pace,
    onFailed: (error) => {
      if (error instanceof BerthError && error.code === 'JournalFailed') {
        world.restartAgent(node, restartMs);
        return;
      }
      world.violations.add(
        'NoCrash',
        `the agent of ${machine.name} gives up: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
    },
  });
  const connections = new Connections({
    ...shared,
    addresses: world.pods.map(({ address }) => address),
    identity,
    dialer: dialerOf(world, node, process, sabotage),
    token: noToken,
    copies,
    unclaimed: (said) => copies.unclaimed(said),
  });
  const transport = world.api.clientFor(process);
  let { taskSlots } = defaultRunnerSpec;
  const publisher = new RunnerPublisher({
    ...shared,
    transport,
    name: machine.name,
    facts: () => {
      const { runner, copies: all, unclaimed } = copies.inventory();
      return {
        identity,
        report: runner,
        copies: all,
        unclaimed,
        machine: undefined,
        taskSlots,
        connections: connections.states().map(publishedState),
      };
    },
    specChanged: (spec) => {
      taskSlots = spec.taskSlots;
      copies.setReserved(setAsideForTasks(spec));
      publisher.numbersChanged();
    },
  });
  const lease = createLeaseKeeper({
    ...shared,
    transport,
    namespace: operatorNamespace,
    name: `runner-${machine.name}`,
    holder: machine.name,
    durationMs: 40_000 * pace,
    intervalMs: 10_000 * pace,
  });
  const run = () => {
    const numbersChanged = () => publisher.numbersChanged();
    copies.attach({ copyChanged: numbersChanged, runnerChanged: numbersChanged, relisted: numbersChanged });
    connections.onChange(() => publisher.conditionsChanged());
    connections.start();
    const never = new AbortController().signal;
    void publisher.run(never);
    void lease.run(never);
  };
  copies.start().then(run, () => {
    world.restartAgent(node, restartMs);
  });
}

/** Undefined when it cannot be written: the agent ends, and is started again until it can. */
function journalOf({ journal, machine }: Node, process: Process): Journal | undefined {
  try {
    return journal.open(machine, process);
  } catch (error) {
    if (error instanceof BerthError && error.code === 'JournalFailed') return undefined;
    throw error;
  }
}

/** Agents of the simulation run no tasks. */
const noTransfers = () => {
  throw new Error('nothing is transferred here');
};

function dialerOf(world: World, { machine }: Node, process: Process, sabotage: Sabotage): Dialer {
  return {
    dial: (address, _token, events) => {
      const pod = world.pods.find((one) => one.address === address);
      const connection = pod && world.network.connect(machine.name, process, pod.name, pod.process);
      if (pod === undefined || connection === undefined) {
        let isClosed = false;
        process.arrive(process.random.latency(2, 500), () => {
          if (!isClosed) events.closed({ kind: 'Lost', message: 'connection refused' });
        });
        return { send: () => true, close: () => (isClosed = true), transfer: noTransfers };
      }
      connection.attachAgent({
        message: ({ message }) => {
          const isOrder = message?.$case === 'order' && sabotage.delivered !== undefined;
          events.received({ message: isOrder ? { $case: 'order', value: sabotage.delivered(message.value, machine) } : message });
        },
        closed: (reason) => events.closed({ kind: 'Lost', message: reason }),
      });
      connection.operator.arrive(process.random.latency(2, 100), () => {
        if (connection.isOpen) pod.accept?.(connection);
      });
      return {
        send: (message) => {
          world.agentSaid(machine.name, pod.name, message);
          connection.sendToOperator(message);
          return true;
        },
        close: () => connection.close('agent', 'the agent closed it'),
        transfer: noTransfers,
      };
    },
  };
}
