import { backupTagPrefix, type Sandbox } from '../../crds/index.ts';
import { deepFreeze } from '../../kube/object.ts';
import { defaultDeadlines } from '../../operator/lifecycle/deadlines.ts';
import type {
  BackupView,
  CopyView,
  CredentialsView,
  EnvironmentView,
  ExitView,
  RegistryResult,
  RegistryWork,
  RemainsView,
  RefusalView,
  SandboxSnapshot,
} from '../../operator/lifecycle/snapshot.ts';
import { copyConfigOf } from '../../operator/sandboxes/copy-config.ts';
import { aRunner, type RunnerViewBuilder } from './a-runner-view.ts';
import { aDigest, aSandbox, testTime, type SandboxBuilder } from './a-sandbox.ts';

/** What a report says unless the test says otherwise. */
export function aCopy(state: CopyView['state'], copy: Partial<CopyView> = {}): CopyView {
  return {
    namespace: 'default',
    name: 'box',
    order: 1,
    contentVersion: state === 'Running' || state === 'Stopped' || state === 'Stopping' ? 1 : 0,
    state,
    exit: undefined,
    reason: '',
    message: '',
    bytes: 0,
    progressAt: undefined,
    baseDigest: '',
    startTimeMs: state === 'Running' ? testTime - 500 : 0,
    backup: undefined,
    ...copy,
  };
}

export function anExit(reason: ExitView['reason'], exit: Partial<ExitView> = {}): ExitView {
  const code = reason === 'Completed' ? 0 : reason === 'Error' ? 3 : reason === 'Lost' || reason === 'RunnerRebooted' ? 255 : 137;
  return { code, reason, signal: 0, finishTimeMs: testTime - 200, ordered: false, ...exit };
}

/** What an agent says of backup 1 of the copy. */
export function aBackup(phase: BackupView['phase'], backup: Partial<BackupView> = {}): BackupView {
  const isDone = phase === 'Done';
  return {
    id: 1,
    phase,
    bytes: 0,
    totalBytes: 0,
    progressAt: 1_000_000,
    digest: isDone ? aDigest(1) : '',
    sizeBytes: isDone ? 1_000 : 0,
    takenWhile: 'Stopped',
    reason: '',
    message: '',
    ...backup,
  };
}

/** What a backup that is whole measures there, whatever its runner says. */
export const sizeInRegistry = 1_200;

/** What came of a look into the registry `ago` milliseconds before: a verification of the sizes, of the backup that tests have first. */
export function aLook(
  outcome: RegistryResult['outcome'],
  { ago = 100, failures = 1, kind = 'Verify', depth = 'Meta', digest = aDigest(1), contentVersion = ofItsRecord }: Partial<Look> = {},
): RegistryResult {
  const repository = 'registry.test/berth/default.box';
  const work: Readonly<Record<RegistryWork['kind'], RegistryWork>> = {
    Verify: { kind: 'Verify', depth, repository, digest, contentVersion },
    Delete: { kind: 'Delete', repository, digest },
    Sweep: { kind: 'Sweep', repository, tagPrefix: backupTagPrefix(aSandbox().obj().metadata.uid) },
  };
  return {
    work: work[kind],
    at: 1_000_000 - ago,
    failures: outcome === 'Whole' || outcome === 'Deleted' ? 0 : failures,
    outcome,
    sizeBytes: outcome === 'Whole' ? sizeInRegistry : 0,
    message: `The backup ${digest} is ${outcome}.`,
  };
}
interface Look {
  readonly ago: number;
  readonly failures: number;
  readonly kind: RegistryWork['kind'];
  readonly depth: 'Meta' | 'Full';
  readonly digest: string;
  /** Which the backup should have. Default: as its record or the operation says. */
  readonly contentVersion: number;
}
const ofItsRecord = 0;

function ofRecord({ status }: Sandbox, result: RegistryResult): RegistryResult {
  const { work } = result;
  if (work.kind !== 'Verify' || work.contentVersion !== ofItsRecord) return result;
  const { history = [], operation } = status.backup ?? {};
  const { contentVersion = 1 } = history.find(({ digest }) => digest === work.digest) ?? operation ?? {};
  return { ...result, work: { ...work, contentVersion } };
}

/** The end of the digest that the work is about; of a sweep the tags. */
export function subject(work: RegistryWork): string {
  return work.kind === 'Sweep' ? '*' : work.digest.slice(-2);
}

interface WorldParts {
  readonly sandbox: Sandbox;
  readonly runners: readonly RunnerViewBuilder[];
  readonly copy: CopyView | undefined;
  readonly rest: Partial<SandboxSnapshot>;
  readonly absent: readonly number[];
}

/** A snapshot for tests. Runners r1 and r2 exist unless the test says otherwise. Frozen all the way down. */
export class WorldBuilder {
  readonly #parts: WorldParts;

  constructor(parts: WorldParts) {
    this.#parts = parts;
  }

  runners(...runners: readonly RunnerViewBuilder[]): WorldBuilder {
    return this.#with({ runners });
  }

  /** The objects of all runners are gone, while those of their agents that were connected still are. */
  withoutRunnerObjects(): WorldBuilder {
    return this.#with({ rest: { ...this.#parts.rest, runner: undefined, fleet: [] } });
  }

  reported(copy: CopyView): WorldBuilder {
    return this.#with({ copy });
  }

  refused(refusal: RefusalView): WorldBuilder {
    return this.#with({ rest: { ...this.#parts.rest, refusal } });
  }

  /** What is known of the registry. */
  registry(...registry: readonly RegistryResult[]): WorldBuilder {
    return this.#with({ rest: { ...this.#parts.rest, registry } });
  }

  /** The operator has no repository for backups. */
  withoutRepository(): WorldBuilder {
    return this.#with({ rest: { ...this.#parts.rest, backups: { repository: undefined } } });
  }

  sent(sentOrder: number): WorldBuilder {
    return this.#with({ rest: { ...this.#parts.rest, sentOrder } });
  }

  credentials(credentials: CredentialsView): WorldBuilder {
    return this.#with({ rest: { ...this.#parts.rest, credentials } });
  }

  environment(environment: EnvironmentView): WorldBuilder {
    return this.#with({ rest: { ...this.#parts.rest, environment } });
  }

  /** So many milliseconds after `testTime`, by both clocks. */
  later(ms: number): WorldBuilder {
    return this.#with({ rest: { ...this.#parts.rest, now: { wall: testTime + ms, monotonic: 1_000_000 + ms } } });
  }

  patientUntil(patientUntil: number): WorldBuilder {
    return this.#with({ rest: { ...this.#parts.rest, patientUntil } });
  }

  jitter(jitter: number): WorldBuilder {
    return this.#with({ rest: { ...this.#parts.rest, jitter } });
  }

  /** The copies of these epochs are proven absent. */
  absent(...epochs: readonly number[]): WorldBuilder {
    return this.#with({ absent: epochs });
  }

  snapshot(): SandboxSnapshot {
    return deepFreeze(this.thawed());
  }

  /** As `snapshot`, and not frozen. */
  thawed(): SandboxSnapshot {
    const { sandbox, runners, copy, rest, absent } = this.#parts;
    const fleet = runners.map((runner) => runner.view());
    const { runnerName, assignment, contentVersion, releases } = sandbox.status;
    const main = runnerName === undefined || assignment === undefined ? [] : [{ ...assignment, runnerName, contentVersion }];
    const remains = [...main, ...releases].map((one): RemainsView => {
      const view = fleet.find(({ name }) => name === one.runnerName);
      return {
        runnerName: one.runnerName,
        storeID: one.storeID,
        epoch: one.epoch,
        contentVersion: one.contentVersion,
        isAbsent: absent.includes(one.epoch),
        isKnown: view !== undefined && rest.fleet === undefined,
        isReachable: view?.agent?.isComplete === true && view.agent.storeID === one.storeID,
        isElsewhere: rest.fleet === undefined && view?.storeID !== undefined && view.storeID !== one.storeID,
      };
    });
    return structuredClone({
      sandbox,
      now: { wall: testTime, monotonic: 1_000_000 },
      patientUntil: 0,
      deadlines: defaultDeadlines,
      jitter: 0,
      configHash: copyConfigOf(sandbox.spec).hash,
      runner: fleet.find(({ name }) => name === runnerName),
      fleet,
      copy,
      refusal: undefined,
      sentOrder: 0,
      remains,
      credentials: { kind: 'Ready' as const },
      environment: { kind: 'Ready' as const },
      backups: { repository: `registry.test/berth/${sandbox.metadata.namespace}.${sandbox.metadata.name}` },
      ...rest,
      registry: (rest.registry ?? []).map((result) => ofRecord(sandbox, result)),
    });
  }

  #with(parts: Partial<WorldParts>): WorldBuilder {
    return new WorldBuilder({ ...this.#parts, ...parts });
  }
}

export function aWorld(sandbox: SandboxBuilder): WorldBuilder {
  return new WorldBuilder({ sandbox: sandbox.obj(), runners: [aRunner('r1'), aRunner('r2')], copy: undefined, rest: {}, absent: [] });
}
