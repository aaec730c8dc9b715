import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { v4 as uuid } from 'uuid';
import { amountsOf, bytes, type Runner } from '../crds/index.ts';
import { setAsideForTasks } from '../crds/resources.ts';
import { loadConnection } from '../kube/config.ts';
import { createLeaseKeeper } from '../kube/lease-keeper.ts';
import type { LeaseKeeper } from '../kube/lease-keeper.ts';
import { createTransport } from '../kube/transport.client.ts';
import type { KubeTransport } from '../kube/types.ts';
import { isAborted } from '../process/abort.ts';
import { listenAddressOf } from '../process/address.ts';
import { backoffDelay } from '../process/backoff.ts';
import { sleep } from '../process/clock.ts';
import { loadConfig } from '../process/config.ts';
import { messageOf } from '../process/errors.ts';
import { startHealthServer } from '../process/health.server.ts';
import { createLogger } from '../process/log.ts';
import type { Logger } from '../process/log.ts';
import { createMetrics } from '../process/metrics.ts';
import { createShutdown } from '../process/shutdown.ts';
import type { Shutdown } from '../process/shutdown.ts';
import { systemClock } from '../process/system-clock.ts';
import type { AnchoredClock } from '../process/system-clock.ts';
import { loadTls } from '../process/tls.ts';
import { VERSION } from '../process/version.ts';
import { requireSecure } from './connections/address-id.ts';
import { Connections } from './connections/controller.ts';
import { dnsResolver, systemResolver } from './connections/dns.client.ts';
import { grpcDialer } from './connections/grpc.client.ts';
import type { AgentIdentity } from './connections/handshake.ts';
import { noToken, TokenFile } from './connections/token.client.ts';
import { createContainerdRuntime } from './containerd/runtime.client.ts';
import type { ContainerdRuntime } from './containerd/runtime.client.ts';
import { ContainerdError, isAmbiguous } from './containerd/containerd-error.ts';
import { CopyController } from './copies/controller.ts';
import { FileJournal } from './journal/file.client.ts';
import { RecordFile } from './journal/record-file.client.ts';
import { lockDirectory } from './journal/lock.client.ts';
import { bootID, limitProcesses, machineCapacity } from './runner/machine.client.ts';
import { MachineWatch } from './runner/machine-watch.client.ts';
import { RunnerPublisher } from './runner/controller.ts';
import { defaultRunnerSpec, publishedState } from './runner/own-runner.ts';
import { TaskController } from './tasks/controller.ts';
import { TaskFiles } from './tasks/files.client.ts';
import type { TaskJournalState, TaskRecord } from './tasks/record.ts';
import { applyTaskRecords, compactTasks, emptyTasks } from './tasks/reduce.ts';
import type { TaskRuntime } from './tasks/runtime.ts';
import { agentSettings } from './settings.ts';
import type { AgentSettings } from './settings.ts';

/** What every part of the agent stands on. */
interface Ground {
  readonly settings: AgentSettings;
  readonly clock: AnchoredClock;
  readonly random: () => number;
  readonly log: Logger;
  readonly shutdown: Shutdown;
}

const taskFormat = { empty: emptyTasks, apply: applyTaskRecords, compact: compactTasks } as const;

const containerdBackoff = { initialMs: 200, maxMs: 5_000, jitter: 0.5 };

async function main(): Promise<void> {
  const clock = systemClock();
  const settings = loadConfig('berth-agent', agentSettings);
  const log = createLogger({ name: 'berth-agent', level: settings.logLevel, clock });
  const shutdown = createShutdown({ clock, log });
  try {
    await start({ settings, clock, random: Math.random, log, shutdown });
  } catch (err) {
    // It was asked to end while it was starting, and does.
    if (isAborted(shutdown.signal)) return;
    log.error({ err }, 'Agent cannot start');
    process.stderr.write(`berth-agent: ${messageOf(err)}\n`);
    process.exit(1);
  }
}

/** Sandboxes go on whatever the agent does: steps of the shutdown only let go. */
async function start(ground: Ground): Promise<void> {
  const { settings, clock, random, log, shutdown } = ground;
  const metrics = createMetrics();
  requireSecure(settings.operators, settings.operatorCa !== undefined || settings.unsafeOperators);
  const { identity, journal } = await openStore(ground);
  const connection = await loadConnection({ kubeconfig: settings.kubeconfig, clock });
  const transport = createTransport({ connection, clock, random, log, metrics, userAgent: `berth-agent/${VERSION}` });
  shutdown.add('transport', () => transport.close());
  const runtime = await connectToContainerd(ground, identity);
  shutdown.add('containerd', () => runtime.close());
  const copies = new CopyController({
    ...{ runtime, journal, clock, random, log, metrics },
    storeID: identity.storeID,
    bootID: identity.bootID,
    unclaimedMs: settings.unclaimedAfterSeconds * 1000,
    backupsAtOnce: settings.backupsAtOnce,
    capacity: await machineCapacity(settings),
    reserved: setAsideForTasks(defaultRunnerSpec),
    onFailed: (err) => {
      log.error({ err }, 'The copies can not go on');
      void shutdown.begin('the copies can not go on', 1);
    },
  });
  await copies.start();
  shutdown.add('copies', () => copies.stop());
  const tasks = await startTasks(ground, { identity, runtime: runtime.tasks, copies });
  const connections = await openConnections(ground, identity, { copies, tasks }, metrics);
  const lease = keepLease(ground, transport);
  const running = publishRunner(ground, { identity, transport, copies, tasks, connections });
  connections.start();
  shutdown.add('connections', () => connections.stop());
  const health = await startHealthServer({
    ...listenAddressOf(settings.healthListen),
    alive: {},
    ready: { lease: () => leaseProblem(lease.age(), settings) },
    metrics,
  });
  shutdown.add('health', () => health.close());
  running.catch((err: unknown) => {
    log.error({ err }, 'The Runner can not be kept');
    void shutdown.begin('the Runner can not be kept', 1);
  });
  const { containerdVersion, ociRuntime } = runtime;
  log.info({ ...identity, containerdVersion, ociRuntime, health: `${health.host}:${health.port}` }, 'Agent started');
}

/** Goes on with the tasks of the agent before this one. What runs goes on when this one ends. */
async function startTasks(
  { settings, clock, log, shutdown }: Ground,
  { identity, runtime, copies }: { readonly identity: AgentIdentity; readonly runtime: TaskRuntime; readonly copies: CopyController },
): Promise<TaskController> {
  const directory = join(settings.stateDir, 'tasks');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const journal = await RecordFile.open<TaskJournalState, TaskRecord>({ path: join(directory, 'journal'), clock, log }, taskFormat);
  shutdown.add('task journal', () => journal.close());
  const tasks = new TaskController({
    ...{ journal, runtime, copies, clock, log, identity },
    files: new TaskFiles(directory),
    onCapacity: (capacity) => copies.setTasks(capacity),
    onFailed: (err) => {
      log.error({ err }, 'The tasks can not go on');
      void shutdown.begin('the tasks can not go on', 1);
    },
  });
  tasks.setSlots(defaultRunnerSpec.taskSlots, slotCpuMillis(defaultRunnerSpec));
  await tasks.start();
  shutdown.add('tasks', () => tasks.stop());
  return tasks;
}

function slotCpuMillis({ taskSlotResources }: Runner['spec']): number {
  return amountsOf({ ...taskSlotResources, disk: 0 }).cpuMillis;
}

/** Says in a Lease that the agent lives. */
function keepLease({ settings, clock, random, log, shutdown }: Ground, transport: KubeTransport): LeaseKeeper {
  const { nodeName, namespace } = settings;
  const durationMs = settings.leaseSeconds * 1000;
  const lease = createLeaseKeeper({
    ...{ transport, namespace, clock, random, log, durationMs },
    name: `runner-${nodeName}`,
    holder: nodeName,
    intervalMs: durationMs / 4,
  });
  void lease.run(shutdown.signal);
  return lease;
}

function leaseProblem(age: number | undefined, { leaseSeconds }: AgentSettings): string | undefined {
  if (age === undefined) return 'the Lease has not been renewed yet';
  return age > leaseSeconds * 1000 ? `the Lease was renewed ${Math.round(age / 1000)} s ago` : undefined;
}

interface Published {
  readonly identity: AgentIdentity;
  readonly transport: KubeTransport;
  readonly copies: CopyController;
  readonly tasks: TaskController;
  readonly connections: Connections;
}

/** Keeps the Runner object, and follows the administrator's settings in it. */
async function publishRunner({ settings, clock, random, log, shutdown }: Ground, published: Published): Promise<void> {
  const { identity, transport, copies, tasks, connections } = published;
  const { storeID, incarnation, agentID, bootID, version } = identity;
  let { taskSlots } = defaultRunnerSpec;
  const machine = new MachineWatch({ directory: settings.stateDir, onChange: () => publisher.conditionsChanged(), clock, log });
  const publisher = new RunnerPublisher({
    ...{ transport, clock, random, log },
    name: settings.nodeName,
    facts: () => {
      const inventory = copies.inventory();
      const states = connections.states().map(publishedState);
      const own = { storeID, incarnation, agentID, bootID, version };
      const { runner: report, copies: known, unclaimed } = inventory;
      return { identity: own, report, copies: known, unclaimed, machine: machine.report(), taskSlots, connections: states };
    },
    specChanged: (spec) => {
      taskSlots = spec.taskSlots;
      copies.setReserved(setAsideForTasks(spec));
      tasks.setSlots(spec.taskSlots, slotCpuMillis(spec));
      publisher.numbersChanged();
    },
  });
  const numbersChanged = () => publisher.numbersChanged();
  copies.attach({ copyChanged: numbersChanged, runnerChanged: numbersChanged, relisted: numbersChanged });
  connections.onChange(() => publisher.conditionsChanged());
  machine.start();
  shutdown.signal.addEventListener('abort', () => machine.stop(), { once: true });
  await publisher.run(shutdown.signal);
}

/** The state directory for this agent alone, and in it who it is and what it was ordered. */
async function openStore({ settings, clock, log, shutdown }: Ground) {
  const { stateDir, nodeName, installId } = settings;
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const lock = await lockDirectory(stateDir);
  shutdown.add('lock', () => lock.release());
  const journal = await FileJournal.open({ path: join(stateDir, 'journal'), newStoreID: uuid(), clock, log });
  shutdown.add('journal', () => journal.close());
  const { storeID, incarnation } = journal.state();
  const identity: AgentIdentity = {
    ...{ storeID, incarnation, runnerName: nodeName, installID: installId, version: VERSION },
    agentID: uuid(),
    bootID: await bootID(),
  };
  return { journal, identity };
}

/** Waits for a containerd that is away or that answers with an error. One that cannot be used ends the agent. */
async function connectToContainerd(
  { settings, clock, random, log, shutdown }: Ground,
  identity: AgentIdentity,
): Promise<ContainerdRuntime> {
  if (settings.capacityPids !== undefined) await limitProcesses(settings.cgroupParent, bytes(settings.capacityPids));
  for (let failures = 1; ; failures++) {
    try {
      return await createContainerdRuntime({
        address: settings.containerdAddress,
        installID: identity.installID,
        storeID: identity.storeID,
        bootID: identity.bootID,
        stateDir: settings.stateDir,
        runtimeRoot: settings.runtimeRoot,
        ociRuntime: settings.runtime,
        cgroups: { parent: settings.cgroupParent },
        shimGroupSize: settings.shimGroupSize,
        imageCollection: {
          highPercent: settings.imageGcHighThresholdPercent,
          lowPercent: settings.imageGcLowThresholdPercent,
          minimumAgeMs: settings.imageMinimumAgeSeconds * 1000,
        },
        diskWatchMs: settings.diskCheckSeconds * 1000,
        backupMaxPauseMs: settings.backupMaxPauseSeconds * 1000,
        logLimits: { maxBytes: bytes(settings.sandboxLogMaxSize), maxFiles: settings.sandboxLogMaxFiles },
        plainHttpHosts: settings.plainHttpRegistries,
        ...(settings.registryConfigDir !== undefined && { registryConfigDir: settings.registryConfigDir }),
        clock,
        logger: log,
      });
    } catch (err) {
      if (!(err instanceof ContainerdError) || isAborted(shutdown.signal)) throw err;
      const inMs = backoffDelay(containerdBackoff, failures, random);
      const about = { err, address: settings.containerdAddress, said: err.said, failures, inMs };
      log.warn(about, isAmbiguous(err) ? 'containerd does not answer, trying again' : 'containerd answers with an error, trying again');
      await sleep(clock, inMs, shutdown.signal);
    }
  }
}

async function openConnections(
  { settings, clock, random, log, shutdown }: Ground,
  identity: AgentIdentity,
  { copies, tasks }: { readonly copies: CopyController; readonly tasks: TaskController },
  metrics: ReturnType<typeof createMetrics>,
): Promise<Connections> {
  const { operators, operatorCa, operatorServerName, operatorTokenFile, namespace } = settings;
  const tls = operatorCa === undefined ? undefined : await loadTls({ files: { caFile: operatorCa }, clock, log });
  if (tls !== undefined) void tls.run(shutdown.signal);
  const tokenFile = operatorTokenFile === undefined ? undefined : await TokenFile.open(operatorTokenFile);
  if (tokenFile !== undefined) void tokenFile.run(clock, log, shutdown.signal);
  const serverName = operatorServerName ?? (tls === undefined ? undefined : `berth-operator.${namespace}.svc`);
  const { operatorResolvers, operatorLookupSeconds, operatorForgetSeconds } = settings;
  return new Connections({
    discovery: {
      resolver: operatorResolvers.length === 0 ? systemResolver : dnsResolver(operatorResolvers),
      lookupMs: operatorLookupSeconds * 1000,
      forgetMs: operatorForgetSeconds * 1000,
      mayLeaveMachine: operatorCa !== undefined || settings.unsafeOperators,
    },
    ...{ addresses: operators, identity, copies, tasks, clock, random, log, metrics },
    unclaimed: (said) => copies.unclaimed(said),
    dialer: grpcDialer({ ca: () => tls?.current().ca, serverName }),
    token: tokenFile ?? noToken,
  });
}

await main();
