import type { Sandbox } from '../../crds/index.ts';
import { keyOf } from '../../kube/object.ts';
import type { Clock, Random } from '../../process/clock.ts';
import type { RunnerView } from '../assignment/runner-view.ts';
import { copyKey, type RunnerFacts } from '../hub/facts.ts';
import type { Deadlines } from '../lifecycle/deadlines.ts';
import type { CredentialsView, EnvironmentView, RegistryResult, RemainsView, SandboxSnapshot } from '../lifecycle/snapshot.ts';
import type { Fleet } from '../runners/gather.ts';
import type { SecretEnvironment } from './secret-environment.ts';
import type { PullCredentials } from './secrets.client.ts';

export interface GatherSources {
  readonly clock: Clock;
  readonly random: Random;
  readonly fleet: Fleet;
  readonly facts: (runnerName: string) => RunnerFacts | undefined;
  readonly sentOrder: (runnerName: string, uid: string, epoch: number) => number;
  /** Monotonic time before which no deadline is judged. */
  readonly patientUntil: number;
  readonly deadlines: Deadlines;
  readonly backups: BackupSources;
}

/** What the operator knows of backups beside the objects. */
export interface BackupSources {
  /** Where the backups of a sandbox go: see BackupSettings. */
  readonly repositoryOf: (sandbox: Sandbox) => string | undefined;
  /** See SandboxSnapshot.registry. */
  readonly resultsFor: (uid: string) => readonly RegistryResult[];
}

/** What the Secrets that a sandbox names hold. Only ever sent to agents. */
export interface SandboxSecrets {
  /** NotRead: nothing is pulled as far as can be seen. */
  readonly credentials: PullCredentials | { readonly kind: 'NotRead' };
  readonly environment: SecretEnvironment;
}

/** Reads the world once for a decision about one sandbox. */
export function gather(sources: GatherSources, sandbox: Sandbox, configHash: string, secrets: SandboxSecrets): SandboxSnapshot {
  const { clock, random, fleet, facts, sentOrder, patientUntil, deadlines } = sources;
  const { metadata, status } = sandbox;
  const now = { wall: clock.now(), monotonic: clock.monotonic() };
  const views = fleet.views(keyOf(sandbox), now.monotonic);
  const { runnerName = '', assignment } = status;
  const known = facts(runnerName);
  const key = copyKey(metadata.uid, assignment?.epoch ?? 0);
  const isOfStore = assignment !== undefined && known?.storeID === assignment.storeID;
  const remains = remainsOf(sandbox, views, facts);
  const snapshot: SandboxSnapshot = {
    sandbox,
    now,
    patientUntil,
    deadlines,
    jitter: random(),
    configHash,
    runner: views.find(({ name }) => name === runnerName),
    fleet: views,
    copy: isOfStore ? known.copies.get(key) : undefined,
    refusal: refusalOf(sandbox, remains, facts),
    sentOrder: assignment === undefined ? 0 : sentOrder(runnerName, metadata.uid, assignment.epoch),
    remains,
    credentials: withoutCredentials(secrets.credentials),
    environment: withoutValues(secrets.environment),
    backups: { repository: sources.backups.repositoryOf(sandbox) },
    registry: sources.backups.resultsFor(metadata.uid),
  };
  return Object.freeze(snapshot);
}

type FactsOf = GatherSources['facts'];

function remainsOf({ metadata, status }: Sandbox, views: readonly RunnerView[], facts: FactsOf): readonly RemainsView[] {
  const { runnerName, assignment, contentVersion, releases } = status;
  const main = runnerName === undefined || assignment === undefined ? [] : [{ ...assignment, runnerName, contentVersion }];
  return [...main, ...releases].map(({ runnerName: name, storeID, epoch, contentVersion: version }) => {
    const view = views.find((one) => one.name === name);
    const known = facts(name);
    const isOfStore = known?.storeID === storeID;
    return {
      runnerName: name,
      storeID,
      epoch,
      contentVersion: version,
      isAbsent: isOfStore && known.copies.get(copyKey(metadata.uid, epoch))?.state === 'Absent',
      isKnown: view !== undefined,
      isReachable: isOfStore && known.isComplete,
      isElsewhere: view?.storeID !== undefined && view.storeID !== storeID,
    };
  });
}

/** The refusal of the standing number, whichever runner said it. */
function refusalOf({ metadata, status }: Sandbox, remains: readonly RemainsView[], facts: FactsOf): SandboxSnapshot['refusal'] {
  const refusals = remains.flatMap(({ runnerName, epoch }) => facts(runnerName)?.refusals.get(copyKey(metadata.uid, epoch)) ?? []);
  return refusals.find(({ order }) => order === status.order);
}

/** A decision needs to know only whether they are there. */
function withoutCredentials(credentials: SandboxSecrets['credentials']): CredentialsView {
  return credentials.kind === 'Missing' ? credentials : { kind: 'Ready' };
}

function withoutValues(environment: SecretEnvironment): EnvironmentView {
  return environment.kind === 'Missing' ? environment : { kind: 'Ready' };
}
