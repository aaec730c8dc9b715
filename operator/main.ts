import { hostname } from 'node:os';
import { v4 as uuid } from 'uuid';
import type { z } from 'zod';
import { loadConnection } from '../kube/config.ts';
import { createReviews } from '../kube/reviews.ts';
import { createTransport } from '../kube/transport.client.ts';
import { isLoopback, listenAddressOf, type Address } from '../process/address.ts';
import { loadConfig } from '../process/config.ts';
import { messageOf } from '../process/errors.ts';
import { startHealthServer } from '../process/health.server.ts';
import { createLogger, type Logger } from '../process/log.ts';
import { createMetrics } from '../process/metrics.ts';
import { createShutdown } from '../process/shutdown.ts';
import { systemClock, type AnchoredClock } from '../process/system-clock.ts';
import { loadTls } from '../process/tls.ts';
import { VERSION } from '../process/version.ts';
import { createRegistryClient, type RegistryClient } from '../registry/registry.client.ts';
import type { BackupRegistry } from './backups/controller.ts';
import { loadCredentials } from './backups/credentials.client.ts';
import { Operator, type ElectionTimes } from './controller.ts';
import { reviewedCallers, trustedCallers } from './http/callers.client.ts';
import { createApiServer } from './http/api.server.ts';
import { apiOperations } from './http/controller.ts';
import { decideTrust } from './http/decide-trust.ts';
import { Forwarder } from './http/forward.client.ts';
import { startServing } from './http/serving.server.ts';
import { createHubServer } from './hub/hub.server.ts';
import { noAuthentication, peerAuthenticator, tokenAuthenticator } from './hub/token-review.client.ts';
import type { Deadlines } from './lifecycle/deadlines.ts';
import { grpcPeerDialer, requireSecurePeers } from './relay/relay.client.ts';
import { createTaskService } from './tasks/main.ts';
import { operatorSettings } from './settings.ts';

/** A reconcile that takes longer means that the process hangs. */
const stuckMs = 300_000;

async function main(): Promise<void> {
  const clock = systemClock();
  const config = loadConfig('berth-operator', operatorSettings);
  const log = createLogger({ name: 'berth-operator', level: config.logLevel, clock });
  try {
    await start(config, clock, log);
  } catch (err) {
    log.error({ err }, 'Operator cannot start');
    process.stderr.write(`berth-operator: ${messageOf(err)}\n`);
    process.exit(1);
  }
}

type Settings = z.output<typeof operatorSettings>;

async function start(config: Settings, clock: AnchoredClock, log: Logger): Promise<void> {
  const random = Math.random;
  const metrics = createMetrics();
  const shutdown = createShutdown({ clock, log });
  const [listen, healthListen] = [listenAddressOf(config.listen), listenAddressOf(config.healthListen)];
  const apiListen = config.httpListen === undefined ? undefined : listenAddressOf(config.httpListen);
  const isLocal = [listen, apiListen].every((address) => address === undefined || isLoopback(address.host));
  const connection = await loadConnection({ kubeconfig: config.kubeconfig, clock });
  const transport = createTransport({ connection, clock, random, log, metrics, userAgent: `berth-operator/${VERSION}` });
  shutdown.add('transport', () => transport.close());

  const usesTls = config.tlsCert !== undefined || config.tlsKey !== undefined;
  const tls = usesTls ? await loadTls({ files: { certFile: config.tlsCert, keyFile: config.tlsKey }, clock, log }) : undefined;
  const isUnasked = decideTrust({ auth: config.auth, usesTls, isLoopback: isLocal, isUnsafeAllowed: config.unsafeListen });
  if (isUnasked) log.warn({ listen: config.listen }, 'Nobody who connects is asked who they are');
  const { namespace, audience, peers, peerService: service, peerCa, peerTokenFile: tokenFile } = config;
  requireSecurePeers(peers, mayDialAnywhere(config), service);
  const peerTls = peerCa === undefined ? undefined : await loadTls({ files: { caFile: peerCa }, clock, log });
  const serverName = config.peerServerName ?? (peerTls === undefined ? undefined : `berth-operator.${namespace}.svc`);
  const ca = () => peerTls?.current().ca;
  const review = { reviews: createReviews({ transport, clock }), audience, namespace };
  const podName = config.podName ?? hostname();
  const backups = await backupsOf(config, clock, log);
  shutdown.add('registry', () => backups.client.close());
  const operator = new Operator({
    transport,
    clock,
    random,
    log,
    metrics,
    namespace,
    podName,
    identity: `${podName}_${uuid()}`,
    version: VERSION,
    authenticator: isUnasked ? noAuthentication : tokenAuthenticator(review),
    peerAuthenticator: isUnasked ? noAuthentication : peerAuthenticator(review),
    watchesNodes: !isUnasked,
    peers: { addresses: peers, service, dialer: grpcPeerDialer({ ca, serverName, tokenFile, clock }) },
    tokenRecheckMs: config.tokenRecheckSeconds * 1000,
    workers: config.workers,
    deadlines: deadlinesOf(config),
    patienceMs: config.patienceSeconds * 1000,
    election: electionTimes(config.leaseSeconds * 1000),
    backups,
  });

  const health = await startHealthServer({
    ...healthListen,
    alive: { reconcile: () => operator.stuck(stuckMs) },
    ready: { caches: () => operator.notReady() },
    metrics,
  });
  shutdown.add('health', () => health.close());
  const stop = new AbortController();
  const running = operator.run(stop.signal);
  if (tls !== undefined) void tls.run(stop.signal);
  if (peerTls !== undefined) void peerTls.run(stop.signal);
  backups.follow(stop.signal);
  shutdown.add('operator', async () => {
    stop.abort(new Error('shutting down'));
    await running;
  });
  const taskService = createTaskService({ world: operator.world, transport, namespace, podName, version: VERSION, clock, log, metrics });
  void taskService.run(stop.signal);
  const { transfers } = taskService;
  const hub = createHubServer({ hub: operator.hub, ...(operator.relay !== undefined && { relay: operator.relay }), transfers, log });
  const dials = { peers: () => operator.peerAddresses, apiListen, ca, serverName, podName };
  const forwarder = new Forwarder({ ...dials, clock, metrics, log: log.child({ part: 'forward' }) });
  const api = createApiServer({
    operations: apiOperations(taskService.serving),
    callers: isUnasked ? trustedCallers : reviewedCallers(review),
    forwarder,
    notReady: () => operator.notReady(),
    ...{ clock, metrics, log: log.child({ part: 'http' }) },
  });
  const serving = await startServing({ hub, api, listen, apiListen, tls, isUnsafeAllowed: config.unsafeListen, clock, log });
  shutdown.add('serving', () => serving.close());
  running.catch((err: unknown) => {
    log.error({ err }, 'Operator ended');
    void shutdown.begin('the operator ended', 1);
  });
  log.info(
    { version: VERSION, pod: podName, listen: textOf(serving.hub), http: textOf(serving.api), health: textOf(health) },
    'Operator started',
  );
}

/** Whether operator pods on other machines may be dialled: they can be verified, or nobody cares. */
function mayDialAnywhere({ peerCa, unsafeListen }: Settings): boolean {
  return peerCa !== undefined || unsafeListen;
}

interface Backups extends BackupRegistry {
  readonly client: RegistryClient;
  /** Reads what may change again and again until the signal is aborted. */
  readonly follow: (signal: AbortSignal) => void;
}

/** What the settings say of the registry of backups. Those of before are asked also when there is no repository any more. */
async function backupsOf(
  { backupRepository, backupCa, backupCredentialsFile: file, backupPlainHttp: plainHttp }: Settings,
  clock: AnchoredClock,
  log: Logger,
): Promise<Backups> {
  const tls = backupCa === undefined ? undefined : await loadTls({ files: { caFile: backupCa }, clock, log });
  const credentials = file === undefined ? undefined : await loadCredentials({ file, clock, log });
  const ca = tls && { ca: () => tls.current().ca };
  return {
    repository: backupRepository,
    client: createRegistryClient({ clock, random: Math.random, userAgent: `berth-operator/${VERSION}`, plainHttp, ...ca }),
    credentials: () => credentials?.current() ?? [],
    follow: (signal) => {
      void tls?.run(signal);
      void credentials?.run(signal);
    },
  };
}

function deadlinesOf(config: Settings): Deadlines {
  return {
    creatingQuiet: config.creatingSeconds * 1000,
    creatingTotal: config.creatingTotalSeconds * 1000,
    starting: config.startingSeconds * 1000,
    stopping: config.stoppingSeconds * 1000,
    deleting: config.deletingSeconds * 1000,
    backupQuiet: config.backupSeconds * 1000,
    backupTotal: config.backupTotalSeconds * 1000,
  };
}

const textOf = ({ host, port }: Address) => `${host}:${port}`;

/** In the proportions that Kubernetes' own controllers have: 15, 10 and 2 s. */
function electionTimes(leaseDurationMs: number): ElectionTimes {
  return { leaseDurationMs, renewDeadlineMs: (leaseDurationMs * 2) / 3, retryPeriodMs: (leaseDurationMs * 2) / 15 };
}

await main();
