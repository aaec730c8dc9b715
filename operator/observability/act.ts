import type { Runner, Sandbox, SandboxStatus } from '../../crds/index.ts';
import type { Cache } from '../../kube/types.ts';
import type { Counter, Histogram, Metrics } from '../../process/metrics.ts';
import { samplesOf, type Sample } from './samples.ts';

const seconds = [0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1_800, 3_600];
const longSeconds = [...seconds, 21_600, 86_400, 604_800];
const bytes = [2 ** 10, 2 ** 15, 2 ** 20, 2 ** 23, 2 ** 26, 2 ** 28, 2 ** 30, 2 ** 32, 2 ** 34];

/** Counts what acknowledged changes of Sandboxes tell: this pod's own writes, so that of several pods nobody counts twice. */
export class SandboxMetrics {
  readonly #migrations: Counter;
  readonly #targets: Counter;
  readonly #backups: Counter;
  readonly #backupSeconds: Histogram;
  readonly #backupBytes: Histogram;
  readonly #restoreSeconds: Histogram;
  readonly #restoreBytes: Histogram;
  readonly #stateSeconds: Histogram;

  constructor(metrics: Metrics) {
    this.#migrations = metrics.counter({
      name: 'berth_sandbox_migrations_total',
      help: 'Sandboxes that were restored from a backup on a runner, by why and how it ended. One that failed counts only as that.',
      labels: ['reason', 'result'],
    });
    this.#targets = metrics.counter({
      name: 'berth_sandbox_migration_targets_lost_total',
      help: 'Targets that were given up for another one while nothing ran there yet.',
      labels: ['reason'],
    });
    this.#backups = metrics.counter({
      name: 'berth_backups_total',
      help: 'Backups that ended, by what asked for them, how they ended and why.',
      labels: ['kind', 'result', 'reason'],
    });
    this.#backupSeconds = metrics.histogram({
      name: 'berth_backup_duration_seconds',
      help: 'Time from the begin of a backup to its record.',
      labels: ['kind'],
      buckets: seconds,
    });
    this.#backupBytes = metrics.histogram({
      name: 'berth_backup_bytes',
      help: 'Size of backups in the registry.',
      labels: ['kind'],
      buckets: bytes,
    });
    this.#restoreSeconds = metrics.histogram({
      name: 'berth_restore_duration_seconds',
      help: 'Time from the choice of a runner to the restored copy being ready there.',
      buckets: seconds,
    });
    this.#restoreBytes = metrics.histogram({
      name: 'berth_restore_bytes',
      help: 'Size of the backups that were restored.',
      buckets: bytes,
    });
    this.#stateSeconds = metrics.histogram({
      name: 'berth_sandbox_state_seconds',
      help: 'Time that sandboxes spent in a state, when they leave it.',
      labels: ['state'],
      buckets: longSeconds,
    });
  }

  /** A status patch was acknowledged. `now` in milliseconds since the epoch. */
  acknowledged(before: SandboxStatus, after: SandboxStatus, now: number): void {
    for (const sample of samplesOf(before, after, now)) this.#count(sample);
  }

  #count(sample: Sample): void {
    switch (sample.kind) {
      case 'Migration':
        this.#migrations.inc({ reason: sample.reason, result: sample.result });
        return;
      case 'TargetLost':
        this.#targets.inc({ reason: sample.reason });
        return;
      case 'Backup':
        this.#countBackup(sample);
        return;
      case 'Restore':
        this.#restoreSeconds.observe(sample.seconds);
        if (sample.bytes !== undefined) this.#restoreBytes.observe(sample.bytes);
        return;
      case 'State':
        this.#stateSeconds.observe(sample.seconds, { state: sample.state });
        return;
    }
  }

  #countBackup(sample: Sample & { readonly kind: 'Backup' }): void {
    const { of: kind, result } = sample;
    this.#backups.inc({ kind, result, reason: 'reason' in sample ? sample.reason : '' });
    if (sample.result !== 'Completed') return;
    this.#backupSeconds.observe(sample.seconds, { kind });
    this.#backupBytes.observe(sample.bytes, { kind });
  }
}

/** Keeps the metrics that say how many sandboxes are Started on each runner, and how far the runners are apart. */
export function countStarted(sandboxes: Cache<Sandbox>, runners: Cache<Runner>, metrics: Metrics): void {
  const gauge = metrics.gauge({
    name: 'berth_runner_started_sandboxes',
    help: 'Sandboxes that are Started, by runner.',
    labels: ['runner'],
  });
  const spread = metrics.gauge({
    name: 'berth_runner_started_sandboxes_spread',
    help: 'Started sandboxes of the runner with the most less those of the runner with the fewest.',
  });
  const counts = new Map<string, number>();
  const known = new Set<string>();
  const tell = (runner: string) => {
    if (known.has(runner)) gauge.set(counts.get(runner) ?? 0, { runner });
    else gauge.remove({ runner });
    const all = [...known].map((name) => counts.get(name) ?? 0);
    spread.set(all.length === 0 ? 0 : Math.max(...all) - Math.min(...all));
  };
  const change = (runner: string | undefined, by: number) => {
    if (runner === undefined) return;
    counts.set(runner, (counts.get(runner) ?? 0) + by);
    tell(runner);
  };
  const startedOn = ({ status }: Sandbox) => (status.state === 'Started' ? status.runnerName : undefined);
  sandboxes.subscribe({
    added: (sandbox) => change(startedOn(sandbox), 1),
    updated: (sandbox, old) => {
      if (startedOn(sandbox) === startedOn(old)) return;
      change(startedOn(old), -1);
      change(startedOn(sandbox), 1);
    },
    deleted: (sandbox) => change(startedOn(sandbox), -1),
  });
  runners.subscribe({
    added: ({ metadata }) => {
      known.add(metadata.name);
      tell(metadata.name);
    },
    updated: () => undefined,
    deleted: ({ metadata }) => {
      known.delete(metadata.name);
      tell(metadata.name);
    },
  });
}
