import { SANDBOX_FINALIZER, sandboxSchema } from '../../crds/index.ts';
import type {
  BackupOperation,
  BackupRecord,
  ExitReason,
  Release,
  Sandbox,
  SandboxReason,
  SandboxSpec,
  SandboxState,
  SandboxStatus,
} from '../../crds/index.ts';
import { copyConfigOf } from '../../operator/sandboxes/copy-config.ts';

/** A digest for tests. */
export function aDigest(n: number): string {
  return `sha256:${n.toString(16).padStart(64, '0')}`;
}

/** A verified backup of version 1, taken while stopped. */
export function aRecord(record: Partial<BackupRecord> = {}): BackupRecord {
  return {
    digest: aDigest(1),
    repository: 'registry.test/berth/default.box',
    contentVersion: 1,
    takenWhile: 'Stopped',
    sizeBytes: 1_000,
    completionTime: at(-3_000),
    verifiedTime: at(-3_000),
    ...record,
  };
}

/** Wall time zero of tests. */
export const testTime = Date.UTC(2026, 0, 1, 12);

export function at(ms: number): string {
  return new Date(testTime + ms).toISOString().replace('.000Z', 'Z');
}

interface Parts {
  readonly metadata: Partial<Sandbox['metadata']>;
  readonly spec: Partial<SandboxSpec>;
  readonly status: Partial<SandboxStatus>;
}

/** A Sandbox for tests: `aSandbox().onRunner('r1').stopped().obj()`. Every call makes a new builder. */
export class SandboxBuilder {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  obj(): Sandbox {
    const { metadata, spec, status } = this.#parts;
    return sandboxSchema.parse({
      metadata: {
        name: 'box',
        namespace: 'default',
        uid: 'uid-box',
        resourceVersion: '1',
        generation: 1,
        creationTimestamp: at(-60_000),
        finalizers: [SANDBOX_FINALIZER],
        ...metadata,
      },
      spec: { image: 'registry.test/demo:1', ...spec },
      status: { observedGeneration: 1, ...status },
    });
  }

  named(name: string): SandboxBuilder {
    return this.metadata({ name, uid: `uid-${name}` });
  }

  metadata(metadata: Parts['metadata']): SandboxBuilder {
    return new SandboxBuilder({ ...this.#parts, metadata: { ...this.#parts.metadata, ...metadata } });
  }

  spec(spec: Partial<SandboxSpec>): SandboxBuilder {
    return new SandboxBuilder({ ...this.#parts, spec: { ...this.#parts.spec, ...spec } });
  }

  status(status: Partial<SandboxStatus>): SandboxBuilder {
    return new SandboxBuilder({ ...this.#parts, status: { ...this.#parts.status, ...status } });
  }

  wantsStopped(): SandboxBuilder {
    return this.spec({ desiredState: 'Stopped' });
  }

  deleting(): SandboxBuilder {
    return this.metadata({ deletionTimestamp: at(0) });
  }

  withoutFinalizer(): SandboxBuilder {
    return this.metadata({ finalizers: [] });
  }

  /** The spec was changed after the status was written. */
  changed(spec: Partial<SandboxSpec>): SandboxBuilder {
    return this.metadata({ generation: 2 }).spec(spec);
  }

  /** Assigned under epoch 1 and order 1, committed from the image, contentVersion 1. */
  onRunner(runnerName: string): SandboxBuilder {
    const spec = this.obj().spec;
    return this.status({
      runnerName,
      order: 1,
      contentVersion: 1,
      assignment: {
        epoch: 1,
        storeID: `store-${runnerName}`,
        bootID: `boot-${runnerName}`,
        phase: 'Committed',
        source: { kind: 'Image' },
        reason: 'FirstPlacement',
        startTime: at(-10_000),
        configHash: copyConfigOf(spec).hash,
      },
    });
  }

  creating(sinceMs = -1_000): SandboxBuilder {
    return this.#in('Creating', 'Creating', sinceMs);
  }

  starting(sinceMs = -1_000): SandboxBuilder {
    return this.local().#in('Starting', 'Starting', sinceMs);
  }

  started(): SandboxBuilder {
    return this.status({
      state: 'Started',
      reason: 'Started',
      message: `The main program runs on ${this.#parts.status.runnerName ?? ''}.`,
      startTime: at(-9_000),
      transition: undefined,
    });
  }

  stopping(sinceMs = -1_000): SandboxBuilder {
    return this.order(2).#in('Stopping', 'Stopping', sinceMs);
  }

  /** Ran once, and was stopped under order 2. */
  stopped(): SandboxBuilder {
    return this.order(2).status({
      state: 'Stopped',
      reason: 'Stopped',
      startTime: at(-9_000),
      finishTime: at(-5_000),
      exitCode: 0,
      exitReason: 'Completed',
      transition: undefined,
    });
  }

  /** Ended by itself, as recorded under order 2, after `attempts` quick ends in a row. */
  ended(exitReason: ExitReason, reason: SandboxReason, attempts = 1): SandboxBuilder {
    const exitCode = exitReason === 'Completed' ? 0 : exitReason === 'Error' ? 3 : 137;
    return this.stopped().status({ reason, exitReason, exitCode, transition: { startTime: at(-5_000), attempts } });
  }

  failed(reason: SandboxReason, { attempts = 1, retryMs }: { attempts?: number; retryMs?: number } = {}): SandboxBuilder {
    const transition = { startTime: at(-1_000), attempts, ...(retryMs !== undefined && { retryTime: at(retryMs) }) };
    return this.status({ state: 'Error', reason, message: 'It went wrong.', transition });
  }

  pending(reason: SandboxReason): SandboxBuilder {
    return this.status({ state: 'Pending', reason, message: 'It waits.' });
  }

  deletingSince(sinceMs: number): SandboxBuilder {
    return this.deleting().#in('Deleting', 'Deleting', sinceMs);
  }

  order(order: number): SandboxBuilder {
    return this.status({ order });
  }

  /** What lies on the runner is the content: it ran before. */
  local(): SandboxBuilder {
    const { assignment } = this.#parts.status;
    return assignment === undefined ? this : this.status({ assignment: { ...assignment, source: { kind: 'Local' } } });
  }

  version(contentVersion: number): SandboxBuilder {
    return this.status({ contentVersion });
  }

  releasing(runnerName: string, epoch: number): SandboxBuilder {
    const release: Release = { runnerName, epoch, storeID: `store-${runnerName}`, contentVersion: 0 };
    return this.status({ releases: [...(this.#parts.status.releases ?? []), release] });
  }

  /** A verified backup, by default of the content as it is, taken while stopped. Every call adds a newer one. */
  backedUp(record: Partial<BackupRecord> = {}): SandboxBuilder {
    const { backup, contentVersion = 0 } = this.#parts.status;
    const history = backup?.history ?? [];
    const made = aRecord({ contentVersion, ...record, digest: record.digest ?? aDigest(history.length + 1) });
    const { verifiedTime: _verified, deletionTime: _deleted, ...latest } = made;
    return this.status({ backup: { lastID: 0, ...backup, latest, history: [...history, made] } });
  }

  /** A backup of the assigned copy that runs, by default number 1, on stop, since a second. */
  backingUp(operation: Partial<BackupOperation> = {}): SandboxBuilder {
    const { backup, assignment, contentVersion = 0, order = 0 } = this.#parts.status;
    const running: BackupOperation = {
      kind: 'OnStop',
      state: 'Running',
      id: 1,
      repository: 'registry.test/berth/default.box',
      storeID: assignment?.storeID ?? '',
      epoch: assignment?.epoch ?? 0,
      contentVersion,
      startTime: at(-1_000),
      attempts: 0,
      ...operation,
    };
    return this.status({ order: order + 1, backup: { history: [], ...backup, lastID: running.id, operation: running } });
  }

  /** spec.backup with these, and the defaults. */
  backupPolicy(policy: Partial<SandboxSpec['backup']>): SandboxBuilder {
    return this.spec({ backup: { ...this.obj().spec.backup, ...policy } });
  }

  #in(state: SandboxState, reason: SandboxReason, sinceMs: number): SandboxBuilder {
    return this.status({ state, reason, message: 'It is under way.', transition: { startTime: at(sinceMs), attempts: 0 } });
  }
}

export function aSandbox(): SandboxBuilder {
  return new SandboxBuilder({ metadata: {}, spec: {}, status: {} });
}
