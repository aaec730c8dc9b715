import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { v4 as uuid } from 'uuid';
import { amountsOf } from '../../../crds/index.ts';
import { setAsideForTasks } from '../../../crds/resources.ts';
import { Connections } from '../../../agent/connections/controller.ts';
import { grpcDialer } from '../../../agent/connections/grpc.client.ts';
import type { AgentIdentity } from '../../../agent/connections/handshake.ts';
import { TokenFile } from '../../../agent/connections/token.client.ts';
import { CopyController } from '../../../agent/copies/controller.ts';
import { FileJournal } from '../../../agent/journal/file.client.ts';
import { RecordFile } from '../../../agent/journal/record-file.client.ts';
import { RunnerPublisher } from '../../../agent/runner/controller.ts';
import { defaultRunnerSpec, publishedState } from '../../../agent/runner/own-runner.ts';
import { TaskController } from '../../../agent/tasks/controller.ts';
import { FakeTaskRuntime } from '../../../agent/tasks/fake-task-runtime.ts';
import { TaskFiles } from '../../../agent/tasks/files.client.ts';
import type { TaskJournalState, TaskRecord } from '../../../agent/tasks/record.ts';
import { applyTaskRecords, compactTasks, emptyTasks } from '../../../agent/tasks/reduce.ts';
import { loadConnection } from '../../../kube/config.ts';
import { createLeaseKeeper } from '../../../kube/lease-keeper.ts';
import { createTransport } from '../../../kube/transport.client.ts';
import type { Logger } from '../../../process/log.ts';
import { systemClock } from '../../../process/system-clock.ts';
import { ModelledContainerd } from './modelled-containerd.ts';

/** What an agent is told that it would read from its settings. */
export interface FleetAgent {
  readonly name: string;
  readonly namespace: string;
  readonly installID: string;
  readonly kubeconfig: string;
  readonly tokenFile: string;
  readonly stateDir: string;
  readonly operators: readonly string[];
  readonly operatorServerName: string;
}

const taskFormat = { empty: emptyTasks, apply: applyTaskRecords, compact: compactTasks };
/** Two hundred journals on one disk set little aside. */
const ballastBytes = 4_096;
const capacity = amountsOf({ cpu: '64', memory: '256Gi', disk: '1Ti' });

/** An agent as its main.ts makes it, over a modelled containerd: the same journals, copies, slots, streams, Lease and Runner. Runs until the process ends. Returns its copies. */
export async function startFleetAgent(agent: FleetAgent, ca: Buffer, log: Logger): Promise<CopyController> {
  const { name, namespace, installID, stateDir } = agent;
  const ground = { clock: systemClock(), random: Math.random, log: log.child({ runner: name }) };
  await mkdir(stateDir, { recursive: true });
  const journal = await FileJournal.open({ ...ground, path: join(stateDir, 'journal'), newStoreID: uuid() });
  const { storeID, incarnation } = journal.state();
  const identity: AgentIdentity = {
    ...{ storeID, incarnation, runnerName: name, installID },
    ...{ agentID: uuid(), bootID: uuid(), version: 'benchmark' },
  };
  const connection = await loadConnection({ kubeconfig: agent.kubeconfig, clock: ground.clock });
  const transport = createTransport({ ...ground, connection, userAgent: 'berth-agent/benchmark' });
  const copies = new CopyController({
    ...ground,
    runtime: new ModelledContainerd(identity.bootID),
    journal,
    storeID,
    bootID: identity.bootID,
    capacity,
    reserved: setAsideForTasks(defaultRunnerSpec),
    onFailed: (error) => {
      throw error;
    },
  });
  await copies.start();
  const tasks = new TaskController({
    ...{ ...ground, identity, copies },
    journal: await RecordFile.open<TaskJournalState, TaskRecord>(
      { ...ground, path: join(stateDir, 'task-journal'), ballastBytes },
      taskFormat,
    ),
    files: new TaskFiles(join(stateDir, 'tasks')),
    runtime: new FakeTaskRuntime(),
    onCapacity: (slots) => copies.setTasks(slots),
    onFailed: (error) => {
      throw error;
    },
  });
  tasks.setSlots(defaultRunnerSpec.taskSlots, 0);
  await tasks.start();
  const connections = new Connections({
    ...ground,
    addresses: agent.operators,
    identity,
    copies,
    tasks,
    unclaimed: (said) => copies.unclaimed(said),
    dialer: grpcDialer({ ca: () => ca, serverName: agent.operatorServerName }),
    token: await TokenFile.open(agent.tokenFile),
  });
  let { taskSlots } = defaultRunnerSpec;
  const publisher = new RunnerPublisher({
    ...ground,
    transport,
    name,
    facts: () => {
      const { runner, copies: all, unclaimed } = copies.inventory();
      const { storeID, incarnation, agentID, bootID, version } = identity;
      const own = { storeID, incarnation, agentID, bootID, version };
      const states = connections.states().map(publishedState);
      return { identity: own, report: runner, copies: all, unclaimed, machine: undefined, taskSlots, connections: states };
    },
    specChanged: (spec) => {
      taskSlots = spec.taskSlots;
      copies.setReserved(setAsideForTasks(spec));
      tasks.setSlots(spec.taskSlots, 0);
      publisher.numbersChanged();
    },
  });
  const numbersChanged = () => publisher.numbersChanged();
  copies.attach({ copyChanged: numbersChanged, runnerChanged: numbersChanged, relisted: numbersChanged });
  connections.onChange(() => publisher.conditionsChanged());
  const never = new AbortController().signal;
  void publisher.run(never);
  void createLeaseKeeper({ ...ground, transport, namespace, name: `runner-${name}`, holder: name }).run(never);
  connections.start();
  return copies;
}
