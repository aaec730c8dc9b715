import { SANDBOX_FINALIZER, type Runner, type Sandbox } from '../../crds/index.ts';
import type { CopyConfig } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { Client } from '../../kube/client.ts';
import { isKubeError } from '../../kube/errors.ts';
import { keyOf } from '../../kube/object.ts';
import type { EventRecorder } from '../../kube/types.ts';
import type { Logger } from '../../process/log.ts';
import type { Counter } from '../../process/metrics.ts';
import { failpoint, reachSteps } from '../failpoints.ts';
import type { RegistryCredential } from '../../process/registry-credential.ts';
import type { RegistryWorker } from '../backups/controller.ts';
import { credentialsForAgent } from '../backups/credential.ts';
import type { Hub } from '../hub/controller.ts';
import type { CopyOrder } from '../lifecycle/orders.ts';
import type { Decision, SandboxEvent } from '../lifecycle/decision.ts';
import { outstandingOrders } from '../lifecycle/outstanding.ts';
import type { SandboxSnapshot } from '../lifecycle/snapshot.ts';
import type { SandboxMetrics } from '../observability/act.ts';
import { noteRemoval } from '../runners/removals.client.ts';
import type { Fleet } from '../runners/gather.ts';
import { claimOf } from './claims.ts';
import type { SandboxSecrets } from './gather.ts';
import { wireOrder, wirePreparation, type SecretPayload } from './wire.ts';

export interface ActPorts {
  readonly sandboxes: Client<Sandbox>;
  readonly runners: Client<Runner>;
  readonly hub: Pick<Hub, 'send' | 'prepare'>;
  readonly events: EventRecorder;
  readonly fleet: Fleet;
  /** Whether this process may still act. */
  readonly isLeader: () => boolean;
  readonly log: Logger;
  readonly registry: Pick<RegistryWorker, 'begin'>;
  /** What agents are given for a repository of backups beside what the sandbox's Secrets hold. */
  readonly credentials: AgentCredentials;
  /** Status writes by state and reason. */
  readonly statusWrites: Counter;
  readonly metrics: Pick<SandboxMetrics, 'acknowledged'>;
}

export interface AgentCredentials {
  /** Reads the Secrets that the sandbox names. */
  readonly read: (sandbox: Sandbox) => Promise<readonly RegistryCredential[]>;
  /** The operator's own. */
  readonly own: () => readonly RegistryCredential[];
}

/** What a decision was made of, beside the snapshot. */
export interface Means {
  readonly config: CopyConfig;
  readonly secrets: SandboxSecrets;
}

/**
 * Carries a decision out. The patch holds only for the object that was decided on (else it rejects with Conflict and nothing of the decision
 * happens); orders and events follow its acknowledgement; only the preparation, which is no effect, goes ahead of it.
 */
export async function act(ports: ActPorts, world: SandboxSnapshot, decision: Decision, means: Means): Promise<void> {
  if (!ports.isLeader()) return;
  const { sandbox } = world;
  FAILPOINT: if (!isIdle(decision)) failpoint('decision.made');
  if (decision.finalizer === 'Remove') {
    await removeFinalizer(ports, sandbox, decision);
    return;
  }
  if (decision.finalizer === 'Add') {
    await ports.sandboxes.setFinalizers(sandbox, [...sandbox.metadata.finalizers, SANDBOX_FINALIZER]);
    FAILPOINT: failpoint('finalizer.added');
    return;
  }
  const acknowledged = decision.patch === undefined ? sandbox : await write(ports, world, decision, means);
  if (acknowledged !== undefined && ports.isLeader()) {
    ports.registry.begin(acknowledged, decision.registry);
    await sendOrders(ports, world, acknowledged, means);
  }
  FAILPOINT: if (!isIdle(decision)) failpoint('orders.sent');
}

async function write(ports: ActPorts, world: SandboxSnapshot, decision: Decision, means: Means): Promise<Sandbox | undefined> {
  const { sandbox } = world;
  const key = keyOf(sandbox);
  const { state, reason = '' } = decision.status;
  ports.fleet.claims.assume(key, claimOf({ spec: sandbox.spec, status: decision.status }));
  try {
    prepare(ports, sandbox, decision, means);
    const acknowledged = await ports.sandboxes.patchStatus(sandbox, decision.status, { stored: storedStatus(sandbox) });
    FAILPOINT: failpoint('status.acknowledged');
    FAILPOINT: reachSteps(sandbox.status, acknowledged.status);
    ports.statusWrites.inc({ state, reason });
    ports.metrics.acknowledged(sandbox.status, acknowledged.status, world.now.wall);
    ports.log.info({ state, reason, order: acknowledged.status.order, runner: acknowledged.status.runnerName }, 'Sandbox status written');
    learn(ports, world, decision);
    tell(ports, acknowledged, decision.events);
    FAILPOINT: failpoint('events.recorded');
    return acknowledged;
  } catch (error) {
    if (isKubeError(error, 'NotFound')) return undefined;
    throw error;
  } finally {
    ports.fleet.claims.settle(key);
  }
}

/** For the crash tests: nothing comes of it. */
function isIdle({ patch, finalizer }: Decision): boolean {
  return patch === undefined && finalizer === 'Keep';
}

/** The first status is written whole: what the object shows before it are the defaults that it was read with. */
function storedStatus({ status }: Sandbox): object {
  return status.observedGeneration === undefined ? {} : status;
}

function prepare({ hub, credentials }: ActPorts, sandbox: Sandbox, { preparation }: Decision, { config, secrets }: Means): void {
  if (preparation === undefined || secrets.credentials.kind !== 'Ready' || secrets.environment.kind !== 'Ready') return;
  const given = credentialsForAgent(preparation.source.repository, secrets.credentials.credentials, credentials.own());
  hub.prepare(preparation.runnerName, wirePreparation(sandbox, preparation, config, payloadOf(secrets, given)));
  FAILPOINT: failpoint('preparation.sent');
}

async function sendOrders(ports: ActPorts, world: SandboxSnapshot, acknowledged: Sandbox, { config, secrets }: Means): Promise<void> {
  for (const { order, isAccepted } of outstandingOrders(world, acknowledged.status)) {
    // What lacks its environment is not started without it: the decision to wait for it comes by itself.
    if (order.source !== undefined && secrets.environment.kind !== 'Ready') continue;
    const message = wireOrder(acknowledged, order, config, payloadOf(secrets, await credentialsOf(ports, acknowledged, order, secrets)));
    if (message !== undefined && ports.isLeader()) ports.hub.send(order.runnerName, message, { isAccepted });
  }
}

/** For the image, and for the backup that is to be made or restored. Secrets that nobody has read yet are read only for those. */
async function credentialsOf(
  { credentials }: ActPorts,
  sandbox: Sandbox,
  { source, backup }: CopyOrder,
  { credentials: read }: SandboxSecrets,
): Promise<readonly RegistryCredential[]> {
  const repository = backup?.repository ?? source?.repository;
  const isNeeded = repository !== undefined || source?.kind === 'Image';
  const ofSandbox = read.kind === 'Ready' ? read.credentials : read.kind === 'NotRead' && isNeeded ? await credentials.read(sandbox) : [];
  return credentialsForAgent(repository, ofSandbox, credentials.own());
}

function payloadOf({ environment }: SandboxSecrets, credentials: readonly RegistryCredential[]): SecretPayload {
  return { credentials, secretEnv: environment.kind === 'Ready' ? environment.variables : [] };
}

function learn({ fleet }: ActPorts, { sandbox, now, jitter }: SandboxSnapshot, { lesson }: Decision): void {
  if (lesson?.kind === 'Failed') fleet.failed(lesson.runnerName, sandbox.metadata.uid, now.monotonic, jitter);
  if (lesson?.kind === 'Succeeded') fleet.succeeded(lesson.runnerName);
}

function tell({ events }: ActPorts, regarding: Sandbox, notes: readonly SandboxEvent[]): void {
  for (const note of notes) events.record({ regarding, ...note });
}

/** What is left on runners is noted first: then the object may go. */
async function removeFinalizer(ports: ActPorts, sandbox: Sandbox, { removals, events }: Decision): Promise<void> {
  for (const { runnerName, removal } of removals) {
    await noteRemoval(ports, runnerName, removal);
    FAILPOINT: failpoint('removals.noted');
  }
  const others = sandbox.metadata.finalizers.filter((finalizer) => finalizer !== SANDBOX_FINALIZER);
  try {
    await ports.sandboxes.setFinalizers(sandbox, others);
    FAILPOINT: failpoint('finalizer.removed');
  } catch (error) {
    if (!isKubeError(error, 'NotFound')) throw error;
  }
  tell(ports, sandbox, events);
}
