import { CopyController } from '../../../agent/copies/controller.ts';
import type { Report } from '../../../agent/proto/gen/berth/agent/v1/agent.ts';
import { API_GROUP_VERSION, RUNNER_KIND } from '../../../crds/index.ts';
import { createLeaseKeeper } from '../../../kube/lease-keeper.ts';
import { silentLogger } from '../../../process/log.ts';
import type { Process } from '../engine/process.ts';
import { runners } from '../models/objects.ts';
import { RuntimeModel } from '../models/runtime.ts';
import type { Sabotage } from '../defects.ts';
import type { Node, Pod, World } from '../world.ts';
import { operatorNamespace } from './operator.ts';

/** An agent as its main.ts makes it, on the ports of the simulation. */
export function startAgent(world: World, node: Node, process: Process, sabotage: Sabotage): void {
  const { machine } = node;
  const runtime = new RuntimeModel(machine, process);
  const copies = new CopyController({
    runtime: sabotage.runtime?.(runtime, machine, process) ?? runtime,
    journal: node.journal.open(machine, process),
    clock: process,
    random: () => process.random.next(),
    log: silentLogger,
    storeID: machine.storeID,
    bootID: machine.bootID,
    capacity: machine.capacity,
    onFailed: (error) =>
      world.violations.add(
        'NoCrash',
        `the agent of ${machine.name} gives up: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      ),
  });
  copies.start().then(
    () => {
      for (const pod of world.pods) connect(world, node, process, copies, pod, sabotage);
      tell(world, node, process);
    },
    () => world.restartAgent(node, process, 1000),
  );
}

function tell(world: World, { machine }: Node, process: Process): void {
  const transport = world.api.clientFor(process);
  const status = { storeID: machine.storeID, bootID: machine.bootID, agentID: process.name };
  const create = () => {
    const body = { apiVersion: API_GROUP_VERSION, kind: RUNNER_KIND.kind, metadata: { name: machine.name } };
    transport
      .create(runners, body)
      .catch(() => undefined)
      .then(() => transport.patch(runners, { name: machine.name }, { type: 'merge', body: { status } }, { subresource: 'status' }))
      .catch(() => process.after(1000, create));
  };
  create();
  const keeper = createLeaseKeeper({
    transport,
    namespace: operatorNamespace,
    name: `runner-${machine.name}`,
    holder: process.name,
    clock: process,
    random: () => process.random.next(),
    log: silentLogger,
  });
  void keeper.run(new AbortController().signal);
}

function connect(world: World, node: Node, process: Process, copies: CopyController, pod: Pod, sabotage: Sabotage): void {
  const { machine } = node;
  const again = () => process.after(process.random.between(200, 2000), () => connect(world, node, process, copies, pod, sabotage));
  const connection = world.network.connect(machine.name, process, pod.name, pod.process);
  if (connection === undefined) {
    again();
    return;
  }
  let seq = 0;
  const report = (part: Partial<Report>) => {
    if (seq > 0) connection.sendToOperator({ message: { $case: 'report', value: { copies: [], runner: undefined, ...part, seq: ++seq } } });
  };
  const inventory = () =>
    connection.sendToOperator({
      message: { $case: 'inventory', value: { ...copies.inventory(), copies: [...copies.inventory().copies], seq: ++seq, last: true } },
    });
  const detach = copies.attach({
    copyChanged: (copy) => report({ copies: [copy] }),
    runnerChanged: (runner) => report({ runner }),
    relisted: () => {
      if (seq > 0) inventory();
    },
  });
  connection.attachAgent({
    message: ({ message }) => {
      if (message?.$case === 'welcome') inventory();
      if (message?.$case === 'preparation') copies.prepareAhead(message.value);
      if (message?.$case !== 'order') return;
      const refusal = copies.deliver(sabotage.delivered?.(message.value, machine) ?? message.value);
      if (refusal !== undefined) connection.sendToOperator({ message: { $case: 'refusal', value: refusal } });
    },
    closed: () => {
      detach();
      again();
    },
  });
  pod.accept?.(connection);
  connection.sendToOperator({
    message: {
      $case: 'hello',
      value: {
        minVersion: 1,
        maxVersion: 1,
        capabilities: [],
        runnerName: machine.name,
        storeId: machine.storeID,
        incarnation: node.starts,
        agentId: process.name,
        bootId: machine.bootID,
        instanceId: `${process.name}-${pod.address}`,
        installId: 'simulation',
        agentVersion: 'simulation',
      },
    },
  });
}
